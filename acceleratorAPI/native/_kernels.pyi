from typing import ClassVar

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

class EntropyError(RuntimeError):
    """A source of random bytes that gives none, or that looks broken."""

def fill_from_kernel(buffer: Buffer) -> None:
    """Fill the writable ``buffer`` by getrandom(2). Releases the GIL.

    Raises:
        EntropyError: the system has no such call.
    """

def fill_from_rdseed(buffer: Buffer) -> None:
    """Fill the writable ``buffer`` by the RDSEED instruction, through ``HealthTests``. Releases the GIL.

    Raises:
        EntropyError: the CPU has none, it gives nothing, or a health test failed.
    """

def has_rdseed() -> bool:
    """Whether this CPU has the RDSEED instruction."""

class HealthTests:
    """The continuous health tests of NIST SP 800-90B, section 4.4, on words of 64 bits and on bytes."""

    WINDOW: ClassVar[int]
    """Samples of a window of the adaptive proportion tests."""
    WORD_REPETITIONS: ClassVar[int]
    WORD_PROPORTION: ClassVar[int]
    BYTE_PROPORTION: ClassVar[int]
    """The three cutoffs."""
    STARTUP_WORDS: ClassVar[int]
    """Words that are tested and dropped before the first is used."""

    def feed(self, samples: Buffer) -> None:
        """Test whole words of 8 bytes, after those of earlier calls.

        Raises:
            EntropyError: a test failed; the message names the test, its cutoff and the sample.
        """

class Output(Buffer):
    """Read-only bytes whose memory is used again when the last reference is gone."""

    def __buffer__(self, flags: int, /) -> memoryview: ...

class WordCounts:
    """How often each word of one corpus was found, by calls on any threads."""

    def most_frequent(self, limit: int) -> tuple[list[tuple[bytes, int]], int]:
        """The most frequent words with their counts, ties by their bytes; and how many different words were found.

        A word is spelled as in the corpus. No call that counts may be running.
        """

class WordReplacer:
    """A compiled corpus. Its methods release the GIL and may be called by several threads at once."""

    def __init__(self, corpus: Buffer, ignore_case: bool = False) -> None:
        """Compile lines of ``word,replacement``; ``ignore_case`` is that of ASCII letters.

        Raises:
            CorpusError: a line is malformed or a duplicate, or there is none.
        """

    def counts(self) -> WordCounts:
        """New counts of this corpus's words, all zero: up to 24 bytes a word and thread."""

    def replace(self, window: Buffer, start: int, counts: WordCounts | None = None) -> tuple[Output, int]:
        """``window[start:]`` with its words replaced, and how many were; each is added to ``counts``."""

    def find(self, window: Buffer, start: int, offset: int, counts: WordCounts | None = None) -> tuple[Output, int]:
        """A line ``offset:word`` for each word in ``window[start:]``, and how many there are.

        ``offset`` is that of ``window[start]``; a word is spelled as in the window.
        """

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
    def growth(self) -> int:
        """No region's output is larger than so many times the region."""

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

def find(data: Buffer, wanted: bytes) -> int:
    """As ``bytes.find``. Releases the GIL."""

class Sha3:
    """One message in pieces. Its methods release the GIL."""

    def __init__(self, kind: str, length: int, cpu: str | None = None) -> None:
        """A new message.

        Args:
            kind: ``sha3-224``, ``-256``, ``-384``, ``-512``, ``shake-128`` or ``shake-256``.
            length: bytes of the digest.
            cpu: the implementation of this level, for tests; else the best.

        Raises:
            ValueError: no such kind, not the kind's length, or this CPU lacks the level.
        """

    def update(self, data: Buffer) -> None: ...
    def digest(self) -> bytes:
        """Of what has come so far."""

class TarStreamError(ValueError):
    """A tar stream that cannot be read; ``args`` are the offset in the stream and the reason."""

    args: tuple[int, str]

class Sha3Region:
    """What a region of a tar stream holds."""

    def run(self, region: Buffer) -> list[tuple[bytes, bytes, bytes | None]]:
        """Of the files that end in the region: path, nothing, digest; of hard links: path, target, ``None``.

        To be called once. May wait for regions planned before, which must be running or done.
        """

class Sha3Folder:
    """Finds the files of a tar stream. Not for several threads at once; its regions are."""

    most_files: int

    def __init__(self, kind: str, length: int, cpu: str | None = None) -> None:
        """As ``Sha3``."""

    def cut(self, window: Buffer) -> int:
        """Where the region that begins with ``window`` should end.

        Raises:
            TarStreamError: also of ``plan`` and ``finish``.
        """

    def plan(self, region: Buffer) -> Sha3Region:
        """The next region of the stream."""

    def finish(self) -> None:
        """The stream is over."""

    @property
    def files(self) -> int: ...
    @property
    def passed_over(self) -> int:
        """Members that are no files."""

def cpu_level() -> str:
    """What kernels run: ``portable``, ``avx2`` or ``avx512``."""

def cpu_of_machine() -> str:
    """What they could run without ``$ACCELERATORAPI_CPU``."""

def paths() -> dict[str, str]:
    """The implementation of each kernel."""
