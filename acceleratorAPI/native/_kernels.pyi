from typing_extensions import Buffer

class CorpusError(ValueError):
    """A corpus that cannot be used; ``args`` are the line from 1 (0: none), the word or line, and the reason."""

    args: tuple[int, bytes, str]

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
        """New counts of this corpus's words, all zero: 8 bytes a word and thread."""

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
    def longest_replacement(self) -> int: ...
    @property
    def table_bytes(self) -> int: ...
