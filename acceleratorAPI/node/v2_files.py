"""``/v2/files``: uploads that survive cuts, by tus 1.0 and by the IETF's resumable uploads, on the same files.

A request with ``Tus-Resumable`` speaks tus (https://tus.io/protocols/resumable-upload, 1.0.0, with creation,
creation-with-upload, creation-defer-length, checksum, termination, expiration, concatenation); any other the draft
"Resumable Uploads for HTTP" (draft-ietf-httpbis-resumable-upload), whose ``104`` answers ASGI cannot send.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import hashlib
import re
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any, Protocol
from urllib.parse import urlsplit

from crc32c import CRC32CHash
from fastapi import APIRouter, Request
from starlette.datastructures import Headers
from starlette.responses import Response

from acceleratorAPI.errors import InputError, IntegrityError, OffsetError
from acceleratorAPI.node import openapi
from acceleratorAPI.node.bodies import pour
from acceleratorAPI.node.clients import client_of, own_upload
from acceleratorAPI.node.download import Download
from acceleratorAPI.node.problems import RequestError, problem
from acceleratorAPI.node.service import Service
from acceleratorAPI.node.uploads import Pour, Upload
from acceleratorAPI.protocol import paths
from acceleratorAPI.protocol.digests import crc32c_field

TUS_VERSION = "1.0.0"
TUS_EXTENSIONS = "creation,creation-with-upload,creation-defer-length,checksum,termination,expiration,concatenation"
TUS_BODY = "application/offset+octet-stream"
IETF_BODY = "application/partial-upload"
MAX_LENGTH = 2**63 - 1
MAX_METADATA_BYTES = 8192
_OFFSET_PROBLEM = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"
_ID = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"([a-z0-9\-]+)=:([A-Za-z0-9+/=]*):")


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


# By the name tus clients use; the IETF's digest fields write sha-256 for sha256.
ALGORITHMS: Mapping[str, Any] = {
    "crc32c": CRC32CHash,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
}


class Checksum:
    """A piece's checksum, as the client announced it."""

    def __init__(self, name: str, expected: bytes) -> None:
        """Args:
        name: one of ``ALGORITHMS``.
        expected: its digest.
        """
        self._name = name
        self._expected = expected
        # CRC32C is summed up anyway.
        self._hash: _Hash | None = ALGORITHMS[name]() if name != "crc32c" else None

    def update(self, data: memoryview, /) -> None:
        """Take the next bytes."""
        if self._hash is not None:
            self._hash.update(data)

    def verify(self, crc32c: int) -> None:
        """Args:
        crc32c: of all the bytes.

        Raises:
            IntegrityError: the bytes are not those that were sent.
        """
        found = self._hash.digest() if self._hash is not None else crc32c.to_bytes(4, "big")
        if found != self._expected:
            raise IntegrityError(f"the piece's {self._name} is not the one it was sent with: send it again")


def router(service: Service) -> APIRouter:
    """These routes of ``service``."""
    return _Routes(service).router


class _Routes:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._uploads = service.uploads
        self.router = APIRouter(tags=["files"])
        both = (paths.FILES, paths.FILES.rstrip("/"))
        one = paths.FILES + "{id}"
        for number, path in enumerate(both):
            self._add(path, "POST", self.create, "Begin an upload", 201, shown=number == 0)
            self._add(path, "OPTIONS", self.options, "What uploads can do", 204, shown=number == 0)
        self._add(one, "OPTIONS", self.options, "What uploads can do", 204, shown=False)
        self._add(one, "HEAD", self.head, "How far an upload is", 200)
        self._add(one, "PATCH", self.patch, "Add to an upload", 204)
        self._add(one, "DELETE", self.delete, "Remove an upload", 204)
        self._add(one, "GET", self.get, "Read a complete upload", 200)

    def _add(self, path: str, method: str, route: Any, summary: str, status: int, *, shown: bool = True) -> None:
        self.router.add_api_route(
            path,
            route,
            methods=[method],
            summary=summary,
            status_code=status,
            response_class=Response,
            include_in_schema=shown,
            operation_id=f"files_{method.lower()}" if shown else None,
            responses=openapi.errors(400, 404, 409, 413, 415, 429, 460, 507),
        )

    async def options(self, request: Request) -> Response:
        """The protocol's versions, extensions and checksum algorithms."""
        headers = {
            "Tus-Resumable": TUS_VERSION,
            "Tus-Version": TUS_VERSION,
            "Tus-Extension": TUS_EXTENSIONS,
            "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
            "Tus-Max-Size": str(MAX_LENGTH),
            "Upload-Limit": self._limit(),
            "Allow": "DELETE, GET, HEAD, OPTIONS, PATCH" if "id" in request.path_params else "OPTIONS, POST",
        }
        return Response(status_code=204, headers=headers)

    async def create(self, request: Request) -> Response:
        """A new upload, whose URL is in `Location`; its first bytes may come along in the body."""
        headers = request.headers
        tus = _speaks_tus(headers)
        metadata = _text(headers, "upload-metadata", MAX_METADATA_BYTES)
        concat = _text(headers, "upload-concat", 64 * 1024)
        if concat.startswith("final;"):
            parts = [own_upload(self._service, request, upload_id(part)) for part in concat[6:].split()]
            if not parts or len({part.row.id for part in parts}) < len(parts):
                raise InputError("Upload-Concat: name each part once, at least one")
            upload = await self._uploads.concatenate(parts, metadata, client_of(request).id)
            return self._created(request, upload, tus)
        if concat not in ("", "partial"):
            raise InputError(f"Upload-Concat = {concat[:100]!r}: use partial or final;URL URL ...")
        length, last = _announced(headers, tus)
        client, admission = client_of(request).id, self._service.engine.admission
        await admission.check_room(client, length or 0)
        admission.check_upload(client)
        upload = await self._uploads.create(length, metadata, partial=concat == "partial", client=client)
        try:
            await self._append(request, upload, 0, last)
        except BaseException:
            # Nobody has been told its URL.
            await self._uploads.remove(upload)
            raise
        return self._created(request, upload, tus)

    async def head(self, request: Request, id: str) -> Response:  # noqa: A002 - the path's own name
        """`Upload-Offset` is how many bytes are there, summed up in `Repr-Digest`. What adds to it is ended first."""
        tus = _speaks_tus(request.headers)
        upload = own_upload(self._service, request, id)
        await self._uploads.settle(upload)
        answer = Response(status_code=200 if tus else 204, headers=self._headers(upload, tus))
        answer.headers["Cache-Control"] = "no-store"
        if upload.row.metadata:
            answer.headers["Upload-Metadata"] = upload.row.metadata
        if upload.row.offset or upload.row.complete:
            answer.headers["Repr-Digest"] = await self._digest(request, upload)
        return answer

    async def patch(self, request: Request, id: str) -> Response:  # noqa: A002
        """Add the body at `Upload-Offset`, which must be where the upload stands."""
        headers = request.headers
        tus = _speaks_tus(headers)
        upload = own_upload(self._service, request, id)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != (TUS_BODY if tus else IETF_BODY):
            raise RequestError(415, f"Content-Type {kind[:100]!r}: use {TUS_BODY if tus else IETF_BODY}")
        offset = _number(headers, "upload-offset")
        if offset is None:
            raise InputError("Upload-Offset is missing: say where the piece begins")
        length, last = _announced(headers, tus, creation=False)
        if length is not None:
            if upload.row.length is None:
                left = length - upload.row.offset
                await self._service.engine.admission.check_room(upload.row.client, left)
                self._service.spool.check_room(left)
            await self._uploads.set_length(upload, length)
        if headers.get("upload-ahead") == "?1":
            checksum = announced_checksum(headers)
            if checksum is None:
                raise InputError("Upload-Ahead: a piece that is ahead needs an Upload-Checksum or Content-Digest")
            body = functools.partial(pour, request, self._service.spool.threads)
            await self._uploads.put_ahead(upload, offset, body, checksum)
            return Response(status_code=204, headers=self._headers(upload, tus))
        try:
            await self._append(request, upload, offset, last)
        except OffsetError as error:
            return _mismatch(error, offset, upload, self._headers(upload, tus))
        return Response(status_code=204, headers=self._headers(upload, tus))

    async def delete(self, request: Request, id: str) -> Response:  # noqa: A002
        """End the upload and remove what there is of it."""
        tus = _speaks_tus(request.headers)
        await self._uploads.remove(own_upload(self._service, request, id))
        return Response(status_code=204, headers=_resumable(tus))

    async def get(self, request: Request, id: str) -> Response:  # noqa: A002
        """The bytes; one range may be asked for."""
        upload = own_upload(self._service, request, id)
        if not upload.row.complete:
            raise InputError(f"upload {id} is not complete: it has {upload.row.offset} bytes so far")
        return Download(request, self._service.spool.path(upload.row.id), self._service.spool.threads)

    async def _append(self, request: Request, upload: Upload, offset: int, last: bool | None) -> None:
        body: Pour = functools.partial(pour, request, self._service.spool.threads)
        row, begin = upload.row, upload.row.offset
        if row.length is None:
            body = self._service.engine.admission.metered(row.client, body, lambda: row.offset - begin)
        await self._uploads.append(upload, offset, body, announced_checksum(request.headers), last=last)

    def _created(self, request: Request, upload: Upload, tus: bool) -> Response:
        answer = Response(status_code=201, headers=self._headers(upload, tus))
        answer.headers["Location"] = f"{self._service.urls.base(request)}{paths.FILES}{upload.row.id}"
        return answer

    def _headers(self, upload: Upload, tus: bool) -> dict[str, str]:
        row = upload.row
        headers = {"Upload-Offset": str(row.offset), **_resumable(tus)}
        if row.length is not None:
            headers["Upload-Length"] = str(row.length)
        elif tus:
            headers["Upload-Defer-Length"] = "1"
        if row.partial and tus:
            headers["Upload-Concat"] = "partial"
        if not tus:
            headers["Upload-Complete"] = "?1" if row.complete else "?0"
            headers["Upload-Limit"] = self._limit()
        if not row.complete:
            headers["Upload-Expires"] = formatdate(row.expires, usegmt=True)
        return headers

    def _limit(self) -> str:
        return f"max-age={int(self._service.settings.upload_lifetime_s)}"

    async def _digest(self, request: Request, upload: Upload) -> str:
        """CRC32C of what is there, which is always known; SHA-256 of all, by reading the file, when it is wanted."""
        found = crc32c_field(upload.row.crc32c)
        if upload.row.complete and "sha-256" in request.headers.get("want-repr-digest", ""):
            path = self._service.spool.path(upload.row.id)

            def read() -> bytes:
                with path.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").digest()

            digest = await asyncio.get_running_loop().run_in_executor(self._service.spool.threads, read)
            found += f", sha-256=:{base64.b64encode(digest).decode()}:"
        return found


def _speaks_tus(headers: Headers) -> bool:
    version = headers.get("tus-resumable")
    if version not in (None, TUS_VERSION):
        raise RequestError(412, f"Tus-Resumable = {version[:20]!r}: use {TUS_VERSION}", {"Tus-Version": TUS_VERSION})
    return version is not None


def _resumable(tus: bool) -> dict[str, str]:
    return {"Tus-Resumable": TUS_VERSION} if tus else {}


def _text(headers: Headers, name: str, limit: int) -> str:
    value = headers.get(name, "").strip()
    if len(value) > limit:
        raise InputError(f"{name} is longer than {limit} bytes")
    return value


def _number(headers: Headers, name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > MAX_LENGTH:
        raise InputError(f"{name} = {text[:40]!r}: use a whole number of bytes")
    return int(text)


def _announced(headers: Headers, tus: bool, *, creation: bool = True) -> tuple[int | None, bool | None]:
    """The length of the whole, when it is said, and whether it ends with this request (``None``: by its length)."""
    length = _number(headers, "upload-length")
    if tus:
        if creation and length is None and headers.get("upload-defer-length") != "1":
            raise InputError("Upload-Length is missing: say how long the file is, or Upload-Defer-Length: 1")
        return length, None
    flag = headers.get("upload-complete", "?1" if creation else "?0").strip()
    if flag not in ("?0", "?1"):
        raise InputError(f"Upload-Complete = {flag[:20]!r}: use ?1 (this is the end) or ?0")
    if creation and length is None and flag == "?1":
        length = _number(headers, "content-length")
    return length, flag == "?1" or None


def announced_checksum(headers: Headers) -> Checksum | None:
    """The announced checksum of the body, if there is one that is known."""
    text = headers.get("upload-checksum")
    if text is not None:
        name, _, value = text.strip().partition(" ")
        if name.lower() not in ALGORITHMS:
            raise InputError(f"Upload-Checksum: {name[:20]!r} is not among {', '.join(ALGORITHMS)}")
        return Checksum(name.lower(), _base64(value))
    for name, value in _DIGEST.findall(headers.get("content-digest", "")):
        known = name.replace("sha-", "sha")
        if known in ALGORITHMS:
            return Checksum(known, _base64(value))
    return None


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise InputError(f"a checksum is not base64: {text[:40]!r}") from None


def upload_id(reference: str) -> str:
    """The upload an URL, path or bare id names."""
    identifier = urlsplit(reference).path.rpartition("/")[2]
    if not _ID.fullmatch(identifier):
        raise InputError(f"{reference[:100]!r} names no upload: use the URL its creation answered")
    return identifier


def _mismatch(error: OffsetError, offset: int, upload: Upload, headers: dict[str, str]) -> Response:
    extra = {"expected-offset": upload.row.offset, "provided-offset": offset}
    return problem(409, error.code, str(error), headers=headers, kind=_OFFSET_PROBLEM, extra=extra)
