"""A reader of ``multipart/form-data`` (RFC 7578) that is fed chunks of any size. No I/O.

File content passes through as views of the fed chunks: nothing but a delimiter's beginning is ever kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import unquote

from acceleratorAPI.errors import InputError

MAX_PARTS = 100
MAX_HEADER_BYTES = 16 * 1024

_PARAMETER = re.compile(r""";\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]*)""", re.DOTALL)
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")


@dataclass(frozen=True, slots=True)
class Part:
    """The head of one part. ``filename`` is what the client says, ``None`` when it says nothing."""

    name: str
    filename: str | None


class End(Enum):
    """The end of a part."""

    PART = "part"


Event = Part | memoryview | End
Chunk = bytes | bytearray


class _State(Enum):
    PREAMBLE = 0
    HEAD = 1
    DATA = 2
    EPILOGUE = 3


def header_parameters(value: str) -> dict[str, str]:
    """The ``name=value`` parameters after the first word of a header, names in lower case, quotes removed."""
    found: dict[str, str] = {}
    for name, text in _PARAMETER.findall(value):
        if text.startswith('"'):
            # Browsers escape only the quote; a backslash before anything else is part of a Windows path.
            text = text[1:-1].replace('\\"', '"')
        found.setdefault(name.lower(), text)
    return found


def boundary_of(content_type: str) -> bytes:
    """The boundary named by a ``Content-Type``.

    Raises:
        InputError: there is none, or RFC 2046 does not allow it.
    """
    boundary = header_parameters(content_type).get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise InputError("multipart body: the Content-Type header names no usable boundary")
    return boundary.encode("ascii")


class MultipartReader:
    """Turns the chunks of a body into ``Part``, ``memoryview`` (content) and ``End.PART``, in the body's order.

    A view is valid until the next event is asked for.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._state = _State.PREAMBLE
        # The line end before the first delimiter may be missing: think it there.
        self._carry = b"\r\n"
        self._head = bytearray()
        self._parts = 0

    def feed(self, data: bytes | memoryview) -> Iterator[Event]:
        """The events ``data`` completes; a view begins where its buffer does.

        Raises:
            InputError: the body is not well-formed, or has too many parts or too long a head.
        """
        # A view cannot be searched, what it is of can.
        chunk: Any = data.obj if isinstance(data, memoryview) else data
        size = len(data)
        at = 0
        while at < size and self._state is not _State.EPILOGUE:
            if self._state is _State.HEAD:
                at, part = self._read_head(chunk, at, size)
                if part is not None:
                    yield part
            else:
                inside = self._state is _State.DATA
                at, views, ended = self._read_data(chunk, at, size)
                if inside:
                    for view in views:
                        if view:
                            yield view
                    if ended:
                        yield End.PART

    def close(self) -> None:
        """The body has ended.

        Raises:
            InputError: the final boundary has not been seen.
        """
        if self._state is not _State.EPILOGUE:
            raise InputError("multipart body: it ends before its final boundary")

    def _read_data(self, chunk: Chunk, at: int, size: int) -> tuple[int, tuple[memoryview, ...], bool]:
        """Content up to a delimiter: the new position, the content, and whether the delimiter came."""
        delimiter, carry = self._delimiter, self._carry
        first: tuple[memoryview, ...] = ()
        if carry:
            # Only the first len(delimiter)-1 bytes can complete what the last chunk began.
            reach = at + len(delimiter) - 1
            joint = carry + chunk[at : min(reach, size)]
            found = joint.find(delimiter)
            if found >= 0:
                self._enter_head()
                return at + found + len(delimiter) - len(carry), (memoryview(joint)[:found],), True
            if reach > size:
                kept = self._overlap(joint)
                self._carry = joint[len(joint) - kept :]
                return size, (memoryview(joint)[: len(joint) - kept],), False
            first = (memoryview(carry),)
            self._carry = b""
        view = memoryview(chunk)
        found = chunk.find(delimiter, at, size)
        if found >= 0:
            self._enter_head()
            return found + len(delimiter), (*first, view[at:found]), True
        last = bytes(chunk[max(at, size - len(delimiter) + 1) : size])
        kept = self._overlap(last)
        self._carry = last[len(last) - kept :]
        return size, (*first, view[at : size - kept]), False

    def _overlap(self, data: bytes) -> int:
        """How many bytes at the end of ``data`` may begin a delimiter."""
        at = data.find(b"\r", max(0, len(data) - len(self._delimiter) + 1))
        while at >= 0:
            if self._delimiter.startswith(data[at:]):
                return len(data) - at
            at = data.find(b"\r", at + 1)
        return 0

    def _enter_head(self) -> None:
        self._carry = b""
        self._head.clear()
        self._state = _State.HEAD

    def _read_head(self, chunk: Chunk, at: int, size: int) -> tuple[int, Part | None]:
        """What follows a delimiter: the end of the body, or the head of the next part."""
        head, before = self._head, len(self._head)
        head += chunk[at : min(size, at + MAX_HEADER_BYTES + 4 - before)]
        if head.startswith(b"--"):
            self._state = _State.EPILOGUE
            return size, None
        line_end = head.find(b"\r\n")
        if line_end < 0:
            # The beginning of "--", or padding and perhaps the beginning of a line end.
            well_formed = head == b"-" or bytes(head).lstrip(b" \t") in (b"", b"\r")
        else:
            well_formed = not head[:line_end].strip(b" \t")
        if not well_formed:
            raise InputError("multipart body: a boundary is followed by other text on its line")
        end = head.find(b"\r\n\r\n", max(line_end, 0))
        if end < 0:
            if len(head) > MAX_HEADER_BYTES:
                raise InputError(f"multipart body: the head of a part is longer than {MAX_HEADER_BYTES} bytes")
            return size, None
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise InputError(f"multipart body: more than {MAX_PARTS} parts")
        part = _parse_head(bytes(head[line_end + 2 : end]) if end > line_end else b"")
        self._state = _State.DATA
        return at + end + 4 - before, part


def _parse_head(head: bytes) -> Part:
    for line in head.decode("utf-8", "replace").split("\r\n"):
        header, _, value = line.partition(":")
        if header.strip().lower() != "content-disposition":
            continue
        parameters = header_parameters(";" + value.partition(";")[2])
        if value.partition(";")[0].strip().lower() != "form-data" or "name" not in parameters:
            break
        filename = parameters.get("filename")
        extended = parameters.get("filename*", "")
        if extended.count("'") >= 2:
            charset, _, text = extended.split("'", 2)
            if charset.lower() in ("utf-8", "iso-8859-1"):
                filename = unquote(text, charset, "replace")
        return Part(parameters["name"], filename)
    raise InputError('multipart body: a part has no header Content-Disposition: form-data; name="..."')
