"""A node's REST API as methods. HTTP and its errors end here: what comes out are records and typed errors."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from crc32c import crc32c
from pydantic import BaseModel, ValidationError
from urllib3 import BaseHTTPResponse, HTTPHeaderDict

from acceleratorAPI.client import connection
from acceleratorAPI.client.connection import NodeConnection, problem_of
from acceleratorAPI.client.retry import Backoff
from acceleratorAPI.client.transfer import Input, MultipartForm, file_head
from acceleratorAPI.errors import (
    AcceleratorError,
    FunctionFailedError,
    IntegrityError,
    NodeBusyError,
    NodeError,
    NotFoundError,
    error_from_code,
)
from acceleratorAPI.protocol import paths
from acceleratorAPI.protocol.digests import crc32c_field
from acceleratorAPI.protocol.records import App, ConfigurationRecord, JobRecord, JobRequest, Lease, Page
from acceleratorAPI.protocol.status import NodeStatus
from acceleratorAPI.protocol.usage import SignedReport

_log = logging.getLogger(__name__)

# A node whose workers are all busy answers then, and is asked again.
CONFIGURE_WAIT_S = 30.0
_LOOK_AGAIN_S = 0.5
POLL_S = 30
_BLOCK_BYTES = 128 << 10
BUSY_PATIENCE_S = 60.0
TUS_VERSION = "1.0.0"
UPLOAD_TYPE = "application/offset+octet-stream"

_JOBS = paths.JOBS.rstrip("/")
_DIGEST = re.compile(r"crc32c=:([A-Za-z0-9+/=]{8}):")

RecordT = TypeVar("RecordT", bound=BaseModel)
# To one of several inputs: its job and, when that is small and there, its output; or what it failed with.
Answered = tuple[JobRecord, bytes | None] | AcceleratorError


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


class NodeClient(NodeConnection):
    """What a node can be asked."""

    def twin(self) -> NodeClient:
        """The same node, on connections of its own."""
        token = self._headers.get("Authorization", "").removeprefix("Bearer ")
        return NodeClient(self.url, token, self._diagnose, self._trust)

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
        headers = {"Content-Type": "application/octet-stream", **_inline_headers(wanted, data, key)}
        path = f"{paths.RUN}?{urlencode(query)}"

        def ask() -> tuple[JobRecord, bytes | None]:
            answer = self._request("POST", path, body=data, headers=headers)
            return self._ran(answer.headers, self._body(answer))

        return self._insist(ask)

    def run_batch(
        self, wanted: JobRequest, inputs: Sequence[tuple[str, bytes]], key: str, wait_s: float
    ) -> list[Answered]:
        """As ``run``, a job for each of several small inputs, each with its name; an error is what one raised.

        Raises:
            AcceleratorError: the request as a whole was not taken.
        """
        query = {"configuration": wanted.configuration, "wait": f"{wait_s:g}"}
        boundary = secrets.token_hex(16)
        parts = [piece for name, data in inputs for piece in (file_head(boundary, name), data, b"\r\n")]
        body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            **_inline_headers(wanted, body, key),
        }
        path = f"{paths.BATCH}?{urlencode(query)}"

        def ask() -> list[Answered]:
            answer = self._request("POST", path, body=body, headers=headers)
            found = [self._outcome(*part) for part in self._parts(answer.headers, self._body(answer))]
            if len(found) != len(inputs):
                raise NodeError(f"{self.url}: {len(found)} answers to {len(inputs)} inputs; is this a node?")
            return found

        return self._insist(ask)

    def _parts(self, headers: Mapping[str, str], body: bytes) -> Iterator[tuple[HTTPHeaderDict, bytes]]:
        """Head and content of each part of an answer."""
        delimiter = b"--" + headers.get("Content-Type", "").rpartition("boundary=")[2].encode()
        at = 0
        while body.startswith(delimiter + b"\r\n", at):
            begin = body.find(b"\r\n\r\n", at) + 4
            lines = body[at + len(delimiter) + 2 : begin - 4].decode("latin-1").split("\r\n")
            fields = HTTPHeaderDict([(name, text) for name, _, text in (line.partition(": ") for line in lines)])
            length = fields.get("Content-Length", "")
            if begin < 4 or not length.isdecimal():
                break
            at = begin + int(length) + 2
            yield fields, body[begin : at - 2]
        if body[at:] != delimiter + b"--\r\n":
            raise NodeError(f"{self.url}: the answer is not made of parts; is this a node?")

    def _outcome(self, headers: HTTPHeaderDict, body: bytes) -> Answered:
        """What a part of an answer says."""
        if headers.get("Status", "").startswith(("2", "3")):
            return self._ran(headers, body)
        return problem_of(body) or NodeError(f"{self.url} answers {headers.get('Status')} for one input")

    def _ran(self, headers: Mapping[str, str], body: bytes) -> tuple[JobRecord, bytes | None]:
        if headers.get("Content-Type") == "application/json":
            return _record(JobRecord, self._json_of(body)), None
        if headers.get("Repr-Digest") != crc32c_field(crc32c(body)):
            raise IntegrityError("the result's bytes changed on their way: try again")
        text = headers.get("Job-Record")
        if text is None:
            # Too long for a field.
            return _record(JobRecord, self._json("GET", self._own(headers.get("Location", "")))), body
        return _record(JobRecord, self._json_of(text)), body

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
        answer = self._request(method, url, body=blocks, headers=sent, idle_s=connection.PIECE_IDLE_S)
        answer.drain_conn()
        answer.release_conn()
        return answer

    def remove_upload(self, url: str) -> None:
        """Remove an upload. Gone already is fine."""
        with contextlib.suppress(NotFoundError):
            self._request("DELETE", url, headers={"Tus-Resumable": TUS_VERSION}).drain_conn()

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
            answer = self._request("GET", path, headers=headers, idle_s=connection.PIECE_IDLE_S)
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
        answer = self._parsed(self._request("POST", path, idle_s=connection.PIECE_IDLE_S))
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


def _inline_headers(wanted: JobRequest, body: bytes, key: str) -> dict[str, str]:
    """What a request whose answer is the output says of its job and its body."""
    return {
        "Content-Digest": crc32c_field(crc32c(body)),
        "Job-Parameters": json.dumps(wanted.parameters),
        "Idempotency-Key": key,
    }


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
