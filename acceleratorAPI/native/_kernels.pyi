from typing import ClassVar

from typing_extensions import Buffer

class CorpusError(ValueError):
    """A corpus that cannot be used; ``args`` are the line from 1 (0: none), the word or line, and the reason."""

    args: tuple[int, bytes, str]

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
