"""The body of a POST: small fields into memory, the one file straight into the spool."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from acceleratorAPI.errors import InputError
from acceleratorAPI.node.admission import Admission
from acceleratorAPI.node.bodies import parse_json, pour, whole
from acceleratorAPI.node.clients import client_of
from acceleratorAPI.node.multipart import MAX_PARTS, End, MultipartReader, Part, boundary_of
from acceleratorAPI.node.problems import RequestError
from acceleratorAPI.node.spool import Spool, SpoolWriter
from acceleratorAPI.node.uploads import Pour

FILE = "datafile"
FIELDS = frozenset({"parameters", "configuration", "source", "target", "folder"})
MAX_FIELD_BYTES = 1 << 20
_SEND_A_FORM = " when it has no file; send multipart/form-data"


@dataclass
class Form:
    """What a request sent.

    Attributes:
        fields: the text fields.
        spooled: spool name of the file, ``None`` when there is none.
        filename: what the client calls it.
        size_bytes: of the file.
        crc32c: of the file.
    """

    fields: dict[str, str] = field(default_factory=dict)
    spooled: str | None = None
    filename: str | None = None
    size_bytes: int = 0
    crc32c: int = 0

    def keep(self) -> str | None:
        """The spool name; the file now belongs to the caller."""
        name, self.spooled = self.spooled, None
        return name


@contextlib.asynccontextmanager
async def read_form(request: Request, spool: Spool, admission: Admission) -> AsyncIterator[Form]:
    """The request's form; its file is removed at the end of the block unless ``keep()`` was called.

    Raises:
        InputError: the body is malformed or a field too long.
        DiskFullError: the file does not fit, in the disk or in what is the client's of it.
    """
    form = Form()
    try:
        content_type = request.headers.get("content-type", "")
        kind = content_type.partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            length = request.headers.get("content-length", "")
            body: Pour = functools.partial(pour, request, spool.threads)
            if length.isdigit():
                spool.check_room(int(length))
                await admission.check_room(client_of(request).id, int(length))
            else:
                body = admission.metered(client_of(request).id, body)
            await _Multipart(body, form, spool, boundary_of(content_type)).read()
        elif kind in ("application/x-www-form-urlencoded", "application/json", ""):
            _plain(kind, await whole(request, MAX_FIELD_BYTES, _SEND_A_FORM), form)
        else:
            raise RequestError(415, f"Content-Type {kind!r}: send multipart/form-data (or JSON when there is no file)")
        yield form
    finally:
        spool.remove(form.keep())


def _plain(kind: str, body: bytes, form: Form) -> None:
    """The fields of a body that carries no file."""
    if not body.strip():
        return
    try:
        text = body.decode("utf-8")
        if kind == "application/json":
            values: Any = parse_json(text)
        else:
            values = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARTS))
    except ValueError as error:
        # The error's own text may quote what was sent.
        raise InputError(f"the body is not {kind or 'a form'}") from error
    if not isinstance(values, dict):
        raise InputError("the JSON body is not an object")
    for name, value in values.items():
        if value is not None and name in FIELDS | {FILE}:
            form.fields[name] = value if isinstance(value, str) else json.dumps(value)
    if form.fields.pop(FILE, ""):
        raise InputError("a datafile can only be sent as multipart/form-data")


class _Multipart:
    """Reads one multipart body into a form."""

    def __init__(self, body: Pour, form: Form, spool: Spool, boundary: bytes) -> None:
        self._body = body
        self._form = form
        self._spool = spool
        self._reader = MultipartReader(boundary)
        self._part = Part("", None)
        self._text = bytearray()
        self._writer: SpoolWriter | None = None

    async def read(self) -> None:
        try:
            async for _ in self._body(self._take):
                pass
            self._reader.close()
        finally:
            if self._writer is not None:
                self._writer.close()

    def _take(self, piece: memoryview) -> None:
        """In a thread: what ``piece`` completes."""
        for event in self._reader.feed(piece):
            if isinstance(event, memoryview):
                self._data(event)
            elif isinstance(event, Part):
                self._begin(event)
            elif event is End.PART:
                self._end()

    def _begin(self, part: Part) -> None:
        self._part = part
        self._text.clear()
        if part.name == FILE:
            if part.filename:
                self._open()
        elif part.filename and part.name not in FIELDS:
            raise InputError(f"a file was sent as {part.name[:100]!r}; the one file a request may send is 'datafile'")

    def _open(self) -> SpoolWriter:
        if self._form.spooled is not None:
            raise InputError("more than one datafile was sent; send one request a file")
        name = self._spool.new_name()
        self._writer = self._spool.writer(name)
        self._form.spooled = name
        self._form.filename = (self._part.filename or "")[:255] or None
        return self._writer

    def _data(self, data: memoryview) -> None:
        if self._part.name == FILE:
            (self._writer or self._open()).write(data)
            return
        if len(self._text) + len(data) > MAX_FIELD_BYTES:
            raise RequestError(413, f"field {self._part.name[:100]!r} is longer than {MAX_FIELD_BYTES} bytes")
        if self._part.name in FIELDS:
            self._text += data

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._form.size_bytes, self._form.crc32c = self._writer.end, self._writer.crc32c
            self._writer = None
        elif self._part.name in FIELDS:
            try:
                self._form.fields[self._part.name] = self._text.decode("utf-8")
            except UnicodeDecodeError:
                raise InputError(f"field {self._part.name!r} is not UTF-8 text") from None
