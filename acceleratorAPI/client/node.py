"""A node's REST API as methods. HTTP and its errors end here: what comes out are records and typed errors."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
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
    DiskFullError,
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

CONNECT_S = 10.0
# No limit on a whole request, only on silence: longer than the node's longest long poll.
IDLE_S = 120.0
POLL_S = 30
BUSY_TRIES = 6
READ_TRIES = 3
TUS_VERSION = "1.0.0"
UPLOAD_TYPE = "application/offset+octet-stream"

_JOBS = paths.JOBS.rstrip("/")

AnswerT = TypeVar("AnswerT")
RecordT = TypeVar("RecordT", bound=BaseModel)
_BY_STATUS: dict[int, type[NodeError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: NodeBusyError,
    503: NodeBusyError,
}


class _PatientHTTP(HTTPConnection):
    """Sends under the idle limit; urllib3 would send under the shorter one for connecting."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(IDLE_S)


class _PatientHTTPS(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        if not self.is_verified:
            raise ssl.SSLError("nobody vouches for the certificate")
        self.sock.settimeout(IDLE_S)


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
        """Make a configuration and wait until the function is ready.

        Raises:
            InputError: parameters or datafile are wrong.
        """
        answer = self._send_form(paths.CONFIGURATION, {"parameters": json.dumps(parameters)}, datafile, on_read)
        return _configured(_record(ConfigurationRecord, answer))

    def begin_job(self, wanted: JobRequest, key: str, wait_s: float = 0) -> JobRecord:
        """Begin a job, or find the one begun with the same ``key``: as it is when it ends or after ``wait_s`` seconds.

        It may have failed.
        """
        body = wanted.model_dump_json(exclude_defaults=True).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        path = f"{_JOBS}?wait={wait_s:g}"
        return self._insist(
            lambda: _record(JobRecord, self._parsed(self._request("POST", path, body=body, headers=headers)))
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
        backoff = Backoff()
        while True:
            try:
                return ask()
            except (NodeBusyError, NodeUnreachableError, IntegrityError) as error:
                if isinstance(error, NodeUnreachableError) and self._has_ended():
                    raise
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
        answer = self._request("POST", paths.FILES, body=piece, headers=headers)
        answer.drain_conn()
        answer.release_conn()
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
        answer = self._request("PATCH", url, body=piece, headers=headers)
        answer.drain_conn()
        answer.release_conn()

    def upload_offset(self, url: str) -> tuple[int, bool]:
        """How many bytes of an upload are there, and whether these are all."""
        answer = self._request("HEAD", url, headers={"Tus-Resumable": TUS_VERSION})
        answer.release_conn()
        offset, length = answer.headers.get("Upload-Offset", ""), answer.headers.get("Upload-Length")
        if not offset.isdecimal():
            raise NodeError(f"{self.url}: no Upload-Offset in the answer; is this a node?")
        return int(offset), offset == length

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
    def result(self, job_id: str, offset: int) -> Iterator[BaseHTTPResponse]:
        """The stream of a job's output from ``offset`` on, which grows while the job runs."""
        with self._translated():
            answer = self._request("GET", f"{_JOBS}/{job_id}/result?follow=true&offset={offset}")
            try:
                yield answer
            except BaseException:
                # Bytes are still to come: the connection cannot serve another request.
                answer.close()
                raise
            answer.release_conn()

    def stop(self) -> App:
        """Drop the configurations."""
        answer = self._json("GET", paths.STOP)
        return _record(App, answer.get("app", {}))

    def lease(self, lease: Lease) -> None:
        """Say on whose life the node's hangs."""
        body = lease.model_dump_json().encode()
        self._request("PUT", paths.LEASE, body=body, headers={"Content-Type": "application/json"}).drain_conn()

    def _send_form(
        self,
        path: str,
        fields: Mapping[str, str],
        datafile: Input | None,
        on_read: Callable[[int, int | None], None],
    ) -> Any:
        """POST a form; when the node is busy, again after a while, as long as the file can be read again."""
        for attempt in range(1, BUSY_TRIES + 1):
            reader, size = datafile.open() if datafile is not None else (None, None)
            try:
                file = (datafile.name, reader, size) if datafile is not None and reader is not None else None
                form = MultipartForm(fields, file, on_read)
                return self._parsed(self._request("POST", path, body=form, headers=form.headers))
            except DiskFullError:
                raise
            except NodeBusyError as error:
                if attempt == BUSY_TRIES or (datafile is not None and not datafile.repeatable):
                    raise
                # Full jitter: clients that were refused together do not come back together.
                time.sleep(random.uniform(0, min(30.0, error.retry_after_s * 2**attempt)))  # noqa: S311
            finally:
                if datafile is not None and reader is not None:
                    datafile.close(reader)
        raise AssertionError("unreachable")

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
        self, method: str, path: str, *, body: Any = None, headers: Mapping[str, str] | None = None
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
        for attempt in range(1, tries + 1):
            try:
                with self._translated():
                    answer = self._pool.request(method, url, body=body, headers=sent, preload_content=False)
            except NodeUnreachableError:
                if attempt == tries or self._has_ended():
                    raise
                time.sleep(random.uniform(0, 0.2 * 2**attempt))  # noqa: S311
                continue
            # 303: the answer to a job's request names where its output is.
            if answer.status >= 300 and answer.status != 303:
                raise self._refusal(answer, f"{method} {path}")
            return answer
        raise AssertionError("unreachable")

    def _has_ended(self) -> bool:
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
        if isinstance(error, NodeBusyError):
            after = answer.headers.get("Retry-After", "")
            error.retry_after_s = float(after) if after.isdecimal() else NodeBusyError.retry_after_s
        return error


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
    timeout = urllib3.Timeout(connect=CONNECT_S, read=IDLE_S)
    pool = urllib3.PoolManager(
        num_pools=2,
        maxsize=16,
        block=False,
        timeout=timeout,
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
