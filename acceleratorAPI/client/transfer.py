"""The ends of a transfer: a user's input, a multipart form read while it is sent, a file that takes all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Mapping
from io import BytesIO, FileIO
from typing import BinaryIO, Protocol

from crc32c import crc32c

from acceleratorAPI.errors import FileAccessError, InputError
from acceleratorAPI.files import open_source
from acceleratorAPI.native.folder import FolderReader
from acceleratorAPI.remote import access, names

CHUNK_BYTES = 1 << 20
FILE_FIELD = "datafile"
_BLOCK_BYTES = 128 << 10

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO


class Reader(Protocol):
    """The part of a binary file an upload uses."""

    def read(self, size: int, /) -> bytes | None:
        """Up to ``size`` bytes, nothing at the end."""


class Input:
    """A user's input: a path (of a folder, perhaps), a URL, an open binary file or bytes. Opens and closes its own."""

    def __init__(self, source: Source) -> None:
        """Take ``source``.

        Raises:
            TypeError: it is none of these.
            InputError: it is a URL that cannot be used.
        """
        self.path: str | None = None
        self.url: str | None = None
        self._file: BinaryIO | None = None
        self._data: bytes | bytearray | memoryview | None = None
        if isinstance(source, (str, os.PathLike)):
            text = os.fspath(source)
            local = names.file_path(text)
            self.name = names.shown(text)
            if local is None and names.is_url(text):
                self.url, self._remote = text, names.parse(text)
            else:
                self.path = os.path.abspath(local or text)
        elif isinstance(source, (bytes, bytearray, memoryview)):
            self._data = source
            self.name = "bytes"
        elif callable(getattr(source, "read", None)):
            self._file = source
            name = getattr(source, "name", None)
            self.name = name if isinstance(name, str) else "file"
        else:
            raise TypeError(f"expected a path, an open binary file or bytes, not {type(source).__name__}")
        self._start = self._tell()

    def check(self, *, folder: bool = False) -> None:
        """Look at a path, or for what a URL needs here, before anything is started or sent.

        Args:
            folder: it may be one.

        Raises:
            FileAccessError: it is missing, a folder that is not wanted, or may not be read.
            InputError: the package for such a URL is missing.
        """
        if self.url is not None:
            access.check(self._remote)
        if self.path is None:
            return
        try:
            mode = os.stat(self.path).st_mode
        except OSError as error:
            raise FileAccessError(f"cannot read {self.name!r}: {error.strerror}") from error
        if stat.S_ISDIR(mode) and not folder:
            raise FileAccessError(f"cannot read {self.name!r}: it is a folder; name a file in it")
        if not os.access(self.path, os.R_OK | os.X_OK if stat.S_ISDIR(mode) else os.R_OK):
            raise FileAccessError(f"cannot read {self.name!r}: Permission denied")

    @property
    def is_regular_file(self) -> bool:
        """Whether a path names a file whose bytes stay where they are."""
        return self.path is not None and os.path.isfile(self.path)

    @property
    def is_folder(self) -> bool:
        """Whether a path names a folder."""
        return self.path is not None and os.path.isdir(self.path)

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent a second time."""
        named = self.is_regular_file or self.is_folder or self.url is not None
        return self._data is not None or named or self._start is not None

    @property
    def identity(self) -> list[int | str] | None:
        """What tells a small input from another without its name being enough; ``None``: nothing does."""
        if self.is_regular_file and self.path is not None:
            status = os.stat(self.path)
            return [self.path, status.st_size, status.st_mtime_ns]
        return [crc32c(self._data), memoryview(self._data).nbytes] if self._data is not None else None

    @property
    def size_bytes(self) -> int | None:
        """Of a regular file or of bytes; ``None`` of everything else, and of what is not there."""
        if self._data is not None:
            return memoryview(self._data).nbytes
        if self.path is None:
            return None
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def open(self) -> tuple[Reader, int | None]:
        """A reader from the start, and how many bytes it has, if that is known. A folder is read as a tar stream."""
        if self.path is not None and self.is_folder:
            return FolderReader(self.path), None
        if self.path is not None:
            file = open_source(self.path)
            status = os.fstat(file.fileno())
            return file, status.st_size if stat.S_ISREG(status.st_mode) else None
        if self.url is not None:
            remote = access.open_source(self._remote)
            return remote, remote.size_bytes
        if self._data is not None:
            return BytesIO(self._data), memoryview(self._data).nbytes
        assert self._file is not None
        if self._start is None:
            return self._file, None
        end = self._file.seek(0, os.SEEK_END)
        self._file.seek(self._start)
        return self._file, max(0, end - self._start)

    def close(self, reader: Reader) -> None:
        """Close a reader this object opened; the caller's own file stays open."""
        if reader is not self._file and hasattr(reader, "close"):
            reader.close()

    def _tell(self) -> int | None:
        if self._file is None:
            return None
        try:
            return self._file.tell() if self._file.seekable() else None
        except (AttributeError, OSError):
            return None


def file_head(boundary: str, name: str) -> bytes:
    """What a file's content follows in a form; the folders of its ``name`` are left out."""
    plain = os.path.basename(os.path.normpath(name)).replace("\\", "_").replace('"', "%22")
    safe = plain.replace("\r", "").replace("\n", "")
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{FILE_FIELD}"; filename="{safe}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode("utf-8", "surrogateescape")


class MultipartForm:
    """A ``multipart/form-data`` body that ``read`` makes as it is sent: any size, constant memory."""

    def __init__(
        self,
        fields: Mapping[str, str],
        file: tuple[str, Reader, int | None] | None = None,
        on_read: Callable[[int, int | None], None] | None = None,
    ) -> None:
        """Take the parts.

        Args:
            fields: the text parts.
            file: name, reader and size in bytes (``None``: unknown) of the part ``datafile``.
            on_read: told the bytes of the file read so far and its size.
        """
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        )
        self._tail = f"--{boundary}--\r\n".encode()
        self._file: Reader | None = None
        self._left: int | None = 0
        self._file_size: int | None = 0
        if file is not None:
            name, self._file, self._file_size = file
            self._left = self._file_size
            head += file_head(boundary, name)
            self._tail = b"\r\n" + self._tail
        self._head = head
        self._on_read = on_read
        self._done = 0
        known = None if self._file_size is None else len(head) + self._file_size + len(self._tail)
        self.size_bytes: int | None = known

    @property
    def headers(self) -> dict[str, str]:
        """What the request must say of its body; without a length it is sent in chunks."""
        headers = {"Content-Type": self.content_type}
        if self.size_bytes is not None:
            headers["Content-Length"] = str(self.size_bytes)
        return headers

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        """The next bytes, nothing at the end.

        Raises:
            InputError: the file gave fewer bytes than it had, or text.
        """
        # Sending one block is under the idle limit: a larger one would be a least speed.
        size = min(size, _BLOCK_BYTES)
        if self._head:
            part, self._head = self._head[:size], self._head[size:]
            return part
        if self._file is not None:
            part = self._read_file(size)
            if part:
                return part
            self._file = None
        part, self._tail = self._tail[:size], self._tail[size:]
        return part

    def _read_file(self, size: int) -> bytes:
        assert self._file is not None
        wanted = size if self._left is None else min(size, self._left)
        if wanted == 0:
            return b""
        try:
            part = self._file.read(wanted)
        except OSError as error:
            # Named here: urllib3 would take it for a failure of the connection.
            raise FileAccessError(f"cannot read the input: {error.strerror or error}") from error
        if isinstance(part, str):
            raise InputError("the input file is open as text: open it in binary mode, 'rb'")
        if part is None:
            raise InputError("the input file is non-blocking and has no data: make it blocking")
        self._done += len(part)
        if self._left is not None:
            if not part:
                raise InputError(f"the input shrank while it was read: {self._done} of {self._file_size} bytes")
            self._left -= len(part)
        if self._on_read is not None:
            self._on_read(self._done, self._file_size)
        return part


def read_into(reader: Reader, buffer: memoryview, *, soon: bool = False) -> int:
    """Read up to a buffer's length into it, without a copy where the reader can; 0 at the end.

    Args:
        reader: the input.
        buffer: to read into.
        soon: what is there now will do.

    Raises:
        FileAccessError: the input cannot be read.
        InputError: it is text or non-blocking.
    """
    part: bytes | str | int | None
    try:
        if isinstance(reader, FileIO):
            part = reader.readinto(buffer)
        else:
            part = (getattr(reader, "read1", reader.read) if soon else reader.read)(len(buffer))
    except OSError as error:
        raise FileAccessError(f"cannot read the input: {error.strerror or error}") from error
    if isinstance(part, str):
        raise InputError("the input file is open as text: open it in binary mode, 'rb'")
    if part is None:
        raise InputError("the input file is non-blocking and has no data: make it blocking")
    if isinstance(part, int):
        return part
    buffer[: len(part)] = part
    return len(part)


class Output(Protocol):
    """The part of a binary file a download uses."""

    def write(self, data: bytes, /) -> int | None:
        """Take ``data``, or as much of it as the answer says."""


def write_all(target: Output, data: bytes) -> None:
    """Write all of ``data``, also to a raw file that takes it in parts."""
    view = memoryview(data)
    while view:
        count = target.write(view)  # type: ignore[arg-type]  # a memoryview is as good as bytes to every file
        view = view[len(view) if count is None else count :]
