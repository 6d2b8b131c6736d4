"""Folders as tar streams: one packed on the fly, and one that arrives packed. Both are a ``FolderSource``."""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from acceleratorAPI.errors import CorruptInputError, FileAccessError
from acceleratorAPI.native._kernels import FolderError, FolderPacker, TarEditor, TarError

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Two hide the time that opening takes on a disk; on a warm cache one would do.
_THREADS = 2
_PIECE_BYTES = 1 << 20


class _Readable(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...


class FolderReader:
    """A folder packed while it is read, in bounded memory. Native threads open and read files ahead.

    Members are sorted by path, byte for byte (a folder counts as ``name/``), below the folder's own name. Symbolic
    links, FIFOs and devices are kept as such, further names of one file as hard links; sockets are left out; holes
    are read as zeros. Times are whole seconds. A file that changes its size while it is read is cut or padded to the
    size announced; one that vanishes is left out; ``warning`` then says so.

    Attributes:
        name: the folder's real path.
    """

    def __init__(self, path: os.PathLike[str] | str) -> None:
        """Nothing is opened yet."""
        self.name = os.path.realpath(path)
        self._top = os.path.basename(self.name) or "."
        self._packer = FolderPacker(os.fsencode(self.name), os.fsencode(self._top), _THREADS)

    def normalise(self) -> None:
        """Drop what differs between two copies of the folder. Call it before the first read."""
        self._packer.normalise()

    def omit_end(self) -> None:
        """Leave out the two zero blocks of the end, so that more members can follow. Call it before the first read."""
        self._packer.omit_end()

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill the start of ``buffer``; the number of bytes, 0 at the end.

        Raises:
            FileAccessError: a file or folder in it cannot be read; the message names it.
        """
        try:
            return self._packer.readinto(buffer)
        except FolderError as error:
            raise FileAccessError(f"cannot read {self._user_path(error.filename)!r}: {error.strerror}") from None

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes, none at the end.

        Raises:
            FileAccessError: as ``readinto``.
        """
        buffer = bytearray(size)
        return bytes(memoryview(buffer)[: self.readinto(buffer)])

    def readall(self) -> bytes:
        """The rest, for a folder that fits the memory."""
        return b"".join(iter(lambda: self.read(_PIECE_BYTES), b""))

    @property
    def entries(self) -> int:
        """How many files, folders and links were packed so far."""
        return self._packer.entries

    @property
    def warning(self) -> str:
        """What did not go into the archive as it lies on the disk, so far; empty when everything did."""
        packer = self._packer
        found = [
            (packer.changed, packer.first_changed, "changed while being read, cut or padded to the size at the start"),
            (packer.vanished, packer.first_vanished, "vanished while the folder was read, left out"),
            (packer.sockets, packer.first_socket, "left out, no archive can hold a socket"),
        ]
        return "; ".join(f"{count} ({os.fsdecode(first)!r} first): {what}" for count, first, what in found if count)

    def close(self) -> None:
        """End the threads. What was found stays."""
        self._packer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _user_path(self, path: bytes) -> str:
        """The path on the disk of a member, or of the folder itself."""
        shown, top = os.fsdecode(path), f"{self._top}/"
        return os.path.join(self.name, shown.removeprefix(top)).rstrip("/") if shown.startswith(top) else shown


class TarReader:
    """The tar file of a folder, checked while it is read: ustar, pax or GNU, from whatever program."""

    warning = ""

    def __init__(self, file: _Readable) -> None:
        """Read ``file`` from where it stands; it stays open."""
        self._file = file
        self._editor = TarEditor()
        self._piece = memoryview(bytearray(_PIECE_BYTES))
        self._ready = memoryview(b"")
        self._ended = False

    def normalise(self) -> None:
        """As ``FolderReader.normalise``."""
        self._editor.normalise()

    def omit_end(self) -> None:
        """As ``FolderReader.omit_end``."""
        self._editor.omit_end()

    @property
    def entries(self) -> int:
        """How many members there were so far."""
        return self._editor.members

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill the start of ``buffer``; the number of bytes, 0 at the end.

        Raises:
            CorruptInputError: this is no tar file, or it breaks off.
        """
        while not self._ready and not self._ended:
            count = self._file.readinto(self._piece)
            if count is None:
                raise BlockingIOError("the input is in non-blocking mode; open it in blocking mode")
            self._ended = count == 0
            try:
                edited = self._editor.edit(self._piece[:count]) if count else self._editor.finish()
            except TarError as error:
                raise CorruptInputError(f"the folder does not come as a tar file: {error}") from None
            self._ready = memoryview(edited)
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count
