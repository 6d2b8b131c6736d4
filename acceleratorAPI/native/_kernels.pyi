from typing_extensions import Buffer

class CorpusError(ValueError):
    """A corpus that cannot be used; ``args`` are the line from 1 (0: none), the word or line, and the reason."""

    args: tuple[int, bytes, str]

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
