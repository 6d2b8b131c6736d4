from typing_extensions import Buffer

class CorpusError(ValueError):
    """A corpus that cannot be used; ``args`` are the line from 1 (0: none), the word or line, and the reason."""

    args: tuple[int, bytes, str]

class FolderError(OSError):
    """A file or folder that cannot be read: ``filename``, in the archive, or on the disk if it is the folder itself."""

    filename: bytes

class FolderPacker:
    """A folder as a tar stream; see ``native.folder.FolderReader``."""

    def __init__(self, root: bytes, top: bytes, threads: int) -> None: ...
    def readinto(self, buffer: Buffer) -> int:
        """The next bytes, 0 at the end. Releases the GIL.

        Raises:
            FolderError: a file or folder cannot be read.
        """

    def normalise(self) -> None: ...
    def omit_end(self) -> None: ...
    def close(self) -> None: ...
    @property
    def entries(self) -> int: ...
    @property
    def changed(self) -> int: ...
    @property
    def vanished(self) -> int: ...
    @property
    def sockets(self) -> int: ...
    @property
    def first_changed(self) -> bytes: ...
    @property
    def first_vanished(self) -> bytes: ...
    @property
    def first_socket(self) -> bytes: ...

class Output(Buffer):
    """Read-only bytes whose memory is used again when the last reference is gone."""

    def __buffer__(self, flags: int, /) -> memoryview: ...

class WordReplacer:
    """A compiled corpus. Its methods release the GIL and may be called by several threads at once."""

    def __init__(self, corpus: Buffer) -> None:
        """Compile lines of ``word,replacement``.

        Raises:
            CorpusError: a line is malformed or a duplicate, or there is none.
        """

    def replace(self, window: Buffer, start: int) -> tuple[Output, int]:
        """``window[start:]`` with its words replaced, and how many were."""

    def cut(self, window: Buffer, start: int) -> int:
        """Where a region from ``start`` may end without cutting a word of the corpus in two."""

    @property
    def words(self) -> int: ...
    @property
    def unmatchable_words(self) -> int:
        """Words whose first or last byte is no word character."""

    @property
    def first_unmatchable_line(self) -> int: ...
    @property
    def longest_word(self) -> int:
        """Bytes, of the words that can match."""

    @property
    def longest_replacement(self) -> int: ...
    @property
    def table_bytes(self) -> int: ...

class TarError(ValueError):
    """Not a tar archive, or not all of one."""

class TarEditor:
    """Checks a tar stream fed in pieces, and changes it on its way; see ``native.folder.TarReader``."""

    def __init__(self) -> None: ...
    def edit(self, piece: Buffer) -> Output:
        """What ``piece`` completes. Releases the GIL.

        Raises:
            TarError: this is no tar archive.
        """

    def finish(self) -> Output:
        """What the end of the input completes.

        Raises:
            TarError: it breaks off.
        """

    def normalise(self) -> None: ...
    def omit_end(self) -> None: ...
    @property
    def members(self) -> int: ...
