"""A node's REST API as methods. HTTP and its errors end here: what comes out are records and typed errors."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import logging
import os
import random
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode, urlsplit

import urllib3
from crc32c import crc32c
from pydantic import BaseModel, ValidationError
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import BaseHTTPResponse

from acceleratorAPI.client.retry import Backoff
from acceleratorAPI.client.trace import trace_headers
from acceleratorAPI.client.transfer import CHUNK_BYTES, Input, MultipartForm
from acceleratorAPI.client.trust import Trust
from acceleratorAPI.errors import (
    AcceleratorError,
    AuthenticationError,
    FunctionFailedError,
    IntegrityError,
    NodeBusyError,
    NodeError,
    NodeUnreachableError,
    NotFoundError,
    PermissionDeniedError,
    error_from_code,
)
from acceleratorAPI.protocol import paths
from acceleratorAPI.protocol.digests import crc32c_field
from acceleratorAPI.protocol.records import App, ConfigurationRecord, JobRecord, JobRequest, Lease, Page
from acceleratorAPI.protocol.status import NodeStatus
from acceleratorAPI.protocol.usage import SignedReport

CONNECT_S = 10.0
# No limit on a whole request, only on silence: longer than the node's longest long poll.
_log = logging.getLogger(__name__)

IDLE_S = 120.0
# A node whose workers are all busy answers then, and is asked again.
CONFIGURE_WAIT_S = 30.0
_LOOK_AGAIN_S = 0.5
POLL_S = 30
# Of a piece of an upload and of an output that is followed: what moves is seen to move, so silence is a cut soon.
PIECE_IDLE_S = 30.0
_BLOCK_BYTES = 128 << 10
BUSY_PATIENCE_S = 60.0
READ_TRIES = 3
TUS_VERSION = "1.0.0"
UPLOAD_TYPE = "application/offset+octet-stream"

_JOBS = paths.JOBS.rstrip("/")
_DIGEST = re.compile(r"crc32c=:([A-Za-z0-9+/=]{8}):")

AnswerT = TypeVar("AnswerT")
RecordT = TypeVar("RecordT", bound=BaseModel)
_BY_STATUS: dict[int, type[NodeError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: NodeBusyError,
    503: NodeBusyError,
}


class UploadState(NamedTuple):
    """How far an upload is.

    Attributes:
        offset: bytes the node has.
        complete: these are all.
        crc32c: of these; ``None`` when the node did not tell.
    """

    offset: int
    complete: bool
    crc32c: int | None


class _PatientHTTP(HTTPConnection):
    """Sends under the idle limit; urllib3 would send under the shorter one for connecting."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(PIECE_IDLE_S)


class _PatientHTTPS(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        if not self.is_verified:
            raise ssl.SSLError("nobody vouches for the certificate")
        self.sock.settimeout(PIECE_IDLE_S)


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _PatientHTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _PatientHTTPS


class NodeClient:
    """One node. Safe to use from several threads; holds no state but its connections."""

    def __init__(
        self, url: str, token: str = "", diagnose: Callable[[], str] | None = None, trust: Trust | None = None
    ) -> None:
        """Connect on first use.

        Args:
            url: of the node, without a path or with the one a proxy serves it under.
            token: sent as bearer token when not empty.
            diagnose: why the node may not answer, for error messages.
            trust: whom to take for the node when it speaks TLS; by default whom this machine's authorities vouch for.

        Raises:
            ConfigurationError: ``trust`` cannot be used.
        """
        self._trust = trust or Trust()
        self._trust.check(url)
        self.url = url.rstrip("/")
        self._diagnose = diagnose or (lambda: "")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._pool, self._pid = _new_pool(self.url, self._trust), os.getpid()

    def __repr__(self) -> str:
        return f"NodeClient({self.url!r})"

    def twin(self) -> NodeClient:
        """The same node, on connections of its own."""
        token = self._headers.get("Authorization", "").removeprefix("Bearer ")
        return NodeClient(self.url, token, self._diagnose, self._trust)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def status(self) -> NodeStatus:
        """The node at a glance."""
        return _record(NodeStatus, self._json("GET", paths.NODE))

    def catalogue(self) -> dict[str, dict[str, Any]]:
        """The card of each function by name; empty for a node that only speaks v1.0."""
        try:
            entries = self._json("GET", paths.FUNCTIONS)
        except NotFoundError:
            return {}
        return {entry["name"]: entry for entry in entries}

    def newest_configuration(self) -> ConfigurationRecord | None:
        """The configuration made last."""
        page = _record(Page[ConfigurationRecord], self._json("GET", paths.CONFIGURATION))
        return page.results[0] if page.results else None

    def configure(
        self, parameters: Mapping[str, Any], datafile: Input | None, on_read: Callable[[int, int | None], None]
    ) -> ConfigurationRecord:
        """Make a configuration and wait until the function is ready, as long as that takes.

        Raises:
            InputError: parameters or datafile are wrong.
        """
        path = f"{paths.CONFIGURATION}?wait={CONFIGURE_WAIT_S:g}"
        answer = self._send_form(path, {"parameters": json.dumps(parameters)}, datafile, on_read)
        record = _record(ConfigurationRecord, answer)
        if not record.processed:
            _log.warning(
                "%s: waiting for a free worker to make %s ready; all are busy, or its configuration takes long",
                self.url,
                record.accelerator,
            )
        while not record.processed:
            time.sleep(_LOOK_AGAIN_S)
            look = f"{paths.CONFIGURATION}{record.id}/"
            record = _record(ConfigurationRecord, self._insist(functools.partial(self._json, "GET", look)))
        return _configured(record)

    def begin_job(self, wanted: JobRequest, key: str) -> JobRecord:
        """Begin a job, or find the one begun with the same ``key``, as it is now. It may have failed."""
        body = wanted.model_dump_json(exclude_defaults=True).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return self._insist(
            lambda: _record(JobRecord, self._parsed(self._request("POST", _JOBS, body=body, headers=headers)))
        )

    def run(self, wanted: JobRequest, data: bytes, key: str, wait_s: float) -> tuple[JobRecord, bytes | None]:
        """Send a small input, and take a small output that is there within ``wait_s`` seconds, in one request.

        Returns:
            The job, and its output; without one, the record says whether there is one and where.

        Raises:
            JobError: it failed.
        """
        query = {"configuration": wanted.configuration, "name": wanted.name or "", "wait": f"{wait_s:g}"}
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Digest": crc32c_field(crc32c(data)),
            "Job-Parameters": json.dumps(wanted.parameters),
            "Idempotency-Key": key,
        }
        path = f"{paths.RUN}?{urlencode(query)}"
        return self._insist(lambda: self._ran(self._request("POST", path, body=data, headers=headers)))

    def _ran(self, answer: BaseHTTPResponse) -> tuple[JobRecord, bytes | None]:
        body = self._body(answer)
        if answer.headers.get("Content-Type") == "application/json":
            return _record(JobRecord, self._json_of(body)), None
        if answer.headers.get("Repr-Digest") != crc32c_field(crc32c(body)):
            raise IntegrityError("the result's bytes changed on their way: try again")
        text = answer.headers.get("Job-Record")
        if text is None:
            # Too long for a field.
            return _record(JobRecord, self._json("GET", self._own(answer.headers.get("Location", "")))), body
        return _record(JobRecord, self._json_of(text)), body

    def _insist(self, ask: Callable[[], AnswerT]) -> AnswerT:
        """Ask again while the node is busy or the way to it broken; only what may be asked twice."""
        backoff = Backoff(self.has_ended)
        while True:
            try:
                return ask()
            except (NodeBusyError, NodeUnreachableError, IntegrityError) as error:
                backoff.wait(error)

    def job(self, job_id: str, wait_s: float) -> JobRecord:
        """The job when it has ended, or as it is after ``wait_s`` seconds.

        Raises:
            JobError: it failed.
        """
        return succeeded(_record(JobRecord, self._json("GET", f"{_JOBS}/{job_id}?wait={wait_s:g}")))

    def create_upload(self, size_bytes: int | None, piece: memoryview, checksum: str | None) -> str:
        """Begin an upload, with its first bytes; its URL."""
        headers = {"Tus-Resumable": TUS_VERSION, "Content-Type": UPLOAD_TYPE}
        headers |= {"Upload-Defer-Length": "1"} if size_bytes is None else {"Upload-Length": str(size_bytes)}
        headers |= {"Upload-Checksum": checksum} if checksum else {}
        answer = self._send_piece("POST", paths.FILES, piece, headers)
        return self._own(answer.headers.get("Location", ""))

    def add_to_upload(self, url: str, offset: int, piece: memoryview, checksum: str, length: int | None) -> None:
        """Add a piece, which begins at ``offset``; ``length`` is that of the whole once it is known."""
        headers = {
            "Tus-Resumable": TUS_VERSION,
            "Content-Type": UPLOAD_TYPE,
            "Upload-Offset": str(offset),
            "Upload-Checksum": checksum,
        }
        headers |= {"Upload-Length": str(length)} if length is not None else {}
        self._send_piece("PATCH", url, piece, headers)

    def put_ahead(self, url: str, offset: int, piece: memoryview, checksum: str) -> int:
        """Put a piece that need not be the next one into an upload of known length; how far it is without a hole."""
        headers = {
            "Tus-Resumable": TUS_VERSION,
            "Content-Type": UPLOAD_TYPE,
            "Upload-Offset": str(offset),
            "Upload-Checksum": checksum,
            "Upload-Ahead": "?1",
        }
        return self._upload_state(self._send_piece("PATCH", url, piece, headers)).offset

    def upload_state(self, url: str) -> UploadState:
        """How far an upload is."""
        answer = self._request("HEAD", url, headers={"Tus-Resumable": TUS_VERSION})
        answer.release_conn()
        return self._upload_state(answer)

    def _upload_state(self, answer: BaseHTTPResponse) -> UploadState:
        offset, length = answer.headers.get("Upload-Offset", ""), answer.headers.get("Upload-Length")
        if not offset.isdecimal():
            raise NodeError(f"{self.url}: no Upload-Offset in the answer; is this a node?")
        digest = _DIGEST.search(answer.headers.get("Repr-Digest", ""))
        crc32c = int.from_bytes(base64.b64decode(digest[1]), "big") if digest else None
        return UploadState(int(offset), offset == length, crc32c)

    def _send_piece(self, method: str, url: str, piece: memoryview, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """Send a body in blocks, each under the idle limit: one limit for all of it would be a least speed."""
        blocks = [piece[at : at + _BLOCK_BYTES] for at in range(0, len(piece), _BLOCK_BYTES)]
        sent = {**headers, "Content-Length": str(len(piece))}
        answer = self._request(method, url, body=blocks, headers=sent, idle_s=PIECE_IDLE_S)
        answer.drain_conn()
        answer.release_conn()
        return answer

    def remove_upload(self, url: str) -> None:
        """Remove an upload. Gone already is fine."""
        with contextlib.suppress(NotFoundError):
            self._request("DELETE", url, headers={"Tus-Resumable": TUS_VERSION}).drain_conn()

    def _own(self, url: str) -> str:
        """The path of one of the node's URLs: it is reached the way we know, whatever it calls itself."""
        path = urlsplit(url).path
        prefix = urlsplit(self.url).path
        return path.removeprefix(prefix) if prefix else path

    def remove_job(self, job_id: str) -> None:
        """Cancel the job if it runs, and remove its files. Gone already is fine."""
        with contextlib.suppress(NotFoundError):
            self._request("DELETE", f"{_JOBS}/{job_id}").drain_conn()

    @contextlib.contextmanager
    def result(self, job_id: str, offset: int, end: int | None = None) -> Iterator[BaseHTTPResponse]:
        """The stream of a job's output from ``offset`` on, as it grows; or, of one that is complete, up to ``end``."""
        if end is None:
            path, headers = f"{_JOBS}/{job_id}/result?follow=true&offset={offset}", {}
        else:
            path, headers = f"{_JOBS}/{job_id}/result", {"Range": f"bytes={offset}-{end - 1}"}
        with self._translated():
            answer = self._request("GET", path, headers=headers, idle_s=PIECE_IDLE_S)
            try:
                yield answer
            except BaseException:
                # Bytes are still to come: the connection cannot serve another request.
                answer.close()
                raise
            answer.release_conn()

    def sign(self, data: bytes) -> str:
        """A digest of ``data`` that only who has the token can make."""
        key = self._headers.get("Authorization", "").encode()[:64]
        return hashlib.blake2b(data, key=key, digest_size=16).hexdigest()

    def stop(self) -> App:
        """Drop the configurations."""
        answer = self._json("GET", paths.STOP)
        return _record(App, answer.get("app", {}))

    def unsent_usage(self, *, cancel: bool) -> list[SignedReport]:
        """What the node has counted and its store does not take now; nothing without a store.

        Args:
            cancel: first end the jobs that have not ended, which are not counted before.
        """
        path = f"{paths.UNSENT_USAGE}?cancel={'true' if cancel else 'false'}"
        answer = self._parsed(self._request("POST", path, idle_s=PIECE_IDLE_S))
        return [_record(SignedReport, values) for values in answer]

    def lease(self, lease: Lease) -> Lease:
        """Say on whose life the node's hangs; the lease now in force."""
        body, headers = lease.model_dump_json().encode(), {"Content-Type": "application/json"}
        return _record(Lease, self._parsed(self._request("PUT", paths.LEASE, body=body, headers=headers)))

    def _send_form(
        self,
        path: str,
        fields: Mapping[str, str],
        datafile: Input | None,
        on_read: Callable[[int, int | None], None],
    ) -> Any:
        """POST a form; when the node is busy, again after a while, as long as the file can be read again."""
        backoff = Backoff(patience_s=BUSY_PATIENCE_S)
        while True:
            reader, size = datafile.open() if datafile is not None else (None, None)
            try:
                file = (datafile.name, reader, size) if datafile is not None and reader is not None else None
                form = MultipartForm(fields, file, on_read)
                return self._parsed(self._request("POST", path, body=form, headers=form.headers))
            except NodeBusyError as error:
                if datafile is not None and not datafile.repeatable:
                    raise
                backoff.wait(error)
            finally:
                if datafile is not None and reader is not None:
                    datafile.close(reader)

    def _json(self, method: str, path: str) -> Any:
        return self._parsed(self._request(method, path))

    def _parsed(self, answer: BaseHTTPResponse) -> Any:
        return self._json_of(self._body(answer))

    def _body(self, answer: BaseHTTPResponse) -> bytes:
        with self._translated():
            body = answer.read(decode_content=False)
            answer.release_conn()
        return body

    def _json_of(self, text: str | bytes) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise NodeError(f"{self.url}: the answer is not JSON; is this a node?") from error

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        idle_s: float | None = None,
    ) -> BaseHTTPResponse:
        """An answer below 400, its body still to be read; GET and DELETE are tried again when cut off."""
        tries = READ_TRIES if method in ("GET", "HEAD", "DELETE") else 1
        url = path if "://" in path else self.url + path
        if self._pid != os.getpid():
            # A forked child must not talk on its parent's connections.
            self._pool, self._pid = _new_pool(self.url, self._trust), os.getpid()
        # Whatever URL an answer names: the token is for this node alone.
        own = self._headers if _origin(url) == _origin(self.url) else {}
        sent = {**own, **trace_headers(), **(headers or {})}
        timeout = urllib3.Timeout(connect=CONNECT_S, read=idle_s or IDLE_S)
        for attempt in range(1, tries + 1):
            try:
                with self._translated():
                    answer = self._pool.request(
                        method, url, body=body, headers=sent, preload_content=False, timeout=timeout
                    )
            except NodeUnreachableError:
                if attempt == tries or self.has_ended():
                    raise
                time.sleep(random.uniform(0, 0.2 * 2**attempt))  # noqa: S311
                continue
            # 303: the answer to a job's request names where its output is.
            if answer.status >= 300 and answer.status != 303:
                raise self._refusal(answer, f"{method} {path}")
            return answer
        raise AssertionError("unreachable")

    def has_ended(self) -> bool:
        """Whether nothing will ever answer again."""
        return "has ended" in self._diagnose() or "is gone" in self._diagnose()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """The one edge where urllib3's errors become ours."""
        try:
            yield
        except urllib3.exceptions.SSLError as error:
            raise NodeError(f"{self.url} is not trusted: {_reason(error)}; {self._trust.hint}") from error
        except urllib3.exceptions.HTTPError as error:
            if isinstance(error, urllib3.exceptions.LocationValueError):
                raise _no_address(self.url) from None
            never = isinstance(error, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError))
            what = f"nothing answers at {self.url}" if never else f"the connection to {self.url} broke off"
            raise NodeUnreachableError(f"{what}: {self._diagnose() or _reason(error)}") from error

    def _refusal(self, answer: BaseHTTPResponse, what: str) -> AcceleratorError:
        """The error an answer stands for."""
        with self._translated():
            text = answer.read(1 << 16, decode_content=False)
            answer.release_conn()
        try:
            problem = json.loads(text)
            error = error_from_code(problem["code"], problem["detail"])
        except (ValueError, KeyError, TypeError):
            kind = _BY_STATUS.get(answer.status, NodeError)
            error = kind(f"{self.url} answers {answer.status} {answer.reason or ''} to {what}".replace("  ", " "))
        if isinstance(error, AuthenticationError):
            where = "the setting [general] node_token, or the environment's ACCELERATOR_NODE_TOKEN"
            if "Authorization" in self._headers:
                return AuthenticationError(f"{self.url} does not take the token (any more): see {where}")
            return AuthenticationError(f"{self.url} asks for a token: give the one its operator made as {where}")
        if isinstance(error, NodeBusyError):
            error.retry_after_s = _retry_after_s(answer.headers.get("Retry-After", ""), type(error).retry_after_s)
        return error


def _retry_after_s(text: str, default_s: float) -> float:
    """Seconds of a ``Retry-After``, which may be a number of them or a date (RFC 9110, 10.2.3)."""
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return default_s


def _no_address(url: str) -> NodeError:
    return NodeError(f"{url!r} is not the address of a node: use host, host:port or http(s)://host:port")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port.

    Raises:
        NodeError: it has none.
    """
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        raise _no_address(url) from None


def _new_pool(url: str, trust: Trust) -> urllib3.PoolManager:
    pool = urllib3.PoolManager(
        num_pools=2,
        maxsize=16,
        block=False,
        retries=False,
        blocksize=CHUNK_BYTES,
        # Reading the authorities' certificates takes a while, which a node on loopback need not cost.
        ssl_context=trust.context() if url.lower().startswith("https:") else None,
    )

    # Not a keyword of the manager, which would make plain connections with it, too.
    secure: Any = functools.partial(_HTTPSPool, assert_fingerprint=trust.fingerprint or None)
    pool.pool_classes_by_scheme = {"http": _HTTPPool, "https": secure}
    return pool


def _record(kind: type[RecordT], values: Any) -> RecordT:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise NodeError(f"the node's answer has a wrong {field or 'shape'}: {first['msg']}") from None


def _configured(record: ConfigurationRecord) -> ConfigurationRecord:
    """``record``, unless it says that it failed: that is raised as what it was at the node."""
    if not record.inerror:
        return record
    message = " ".join(record.parametersresult.app.msg.split()) if record.parametersresult else "failed without a word"
    error = error_from_code(record.errorcode or "", message)
    raise error if type(error) is not AcceleratorError else FunctionFailedError(message)


def succeeded(record: JobRecord) -> JobRecord:
    """``record``, unless the job failed: that is raised as what it was at the node."""
    if record.failure is None:
        return record
    error = error_from_code(record.failure.code, " ".join(record.failure.detail.split()))
    raise error if type(error) is not AcceleratorError else FunctionFailedError(record.failure.detail)


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """The part of urllib3's message that a person can use."""
    inner = error.args[-1] if error.args and isinstance(error.args[-1], Exception) else error.__cause__
    return " ".join(str(inner or error).rpartition("] ")[2].split()) or type(error).__name__
