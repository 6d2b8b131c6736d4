"""The function ``axonerve_hyperfire``: whole words of a corpus replaced or found, in one pass, exact to the byte."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from typing_extensions import override

from acceleratorAPI.drivers.base import Source, Target
from acceleratorAPI.drivers.cpu import BlockKernel, run_blocks
from acceleratorAPI.errors import DatafileError, FunctionFailedError, StateError
from acceleratorAPI.files import access_error
from acceleratorAPI.functions.base import Function, Outcome, Parameters
from acceleratorAPI.native._kernels import CorpusError, WordCounts, WordReplacer
from acceleratorAPI.protocol.cards import Card

if TYPE_CHECKING:
    from typing_extensions import Buffer

_USUAL_BLOCK = 1 << 20
# Blocks are small enough that this much comes out at the most, be it nothing but the word that grows most, ...
_USUAL_OUTPUT = 8 << 20
# ... and large enough that a cut between the longest words is found. A corpus that needs more for both is refused.
_LARGEST_OUTPUT = 32 << 20
# A text of one-letter words, all of the corpus, has one word every two bytes, and a line of at most this size for each.
_FOUND_BLOCK = 256 << 10
_MOST_COUNTS = 10_000
_LONGEST_COUNTED = 200


class StartParameters(Parameters):
    """Parameters of ``start``."""

    ignore_case: bool = Field(
        False,
        description="Take `A` for `a`, in corpus and text; ASCII letters only. Words equal then are duplicates.",
    )


class ProcessParameters(Parameters):
    """Parameters of ``process``."""

    mode: Literal["replace", "find"] = Field(
        "replace",
        description="`replace`: the output is the text with its words replaced. `find`: a line `OFFSET:WORD` for each "
        "word found, its place in the input in bytes from 0 and its bytes as they stand there, like `grep -ob`.",
    )
    counts: bool = Field(
        False,
        description=f"Also answer how often each word was found: the {_MOST_COUNTS:,} most frequent, as the corpus "
        "spells them.",
    )


def _smallest_block(replacer: WordReplacer) -> int:
    """A cut is looked for in the second half of a block, where several of the longest words must find room."""
    return 8 * (replacer.longest_word + 1)


class WordKernel(BlockKernel[int]):
    """Replaces the words of each block; the byte before it tells whether it begins inside a word.

    Attributes:
        found: how many words were.
        counts: how often each was; ``None`` when nobody asks.
    """

    lookbehind = 1

    def __init__(self, replacer: WordReplacer, block_size: int | None = None, *, counts: bool = False) -> None:
        self.block_size = block_size or max(
            _smallest_block(replacer), min(_USUAL_BLOCK, _USUAL_OUTPUT // replacer.growth)
        )
        self.found = 0
        self.counts = replacer.counts() if counts else None
        self._replacer = replacer

    @override
    def cut(self, window: memoryview, start: int) -> int:
        return self._replacer.cut(window, start)

    @override
    def run(self, window: memoryview, start: int) -> tuple[Buffer, int]:
        return self._replacer.replace(window, start, self.counts)

    @override
    def collect(self, note: int) -> None:
        self.found += note


class FindKernel(WordKernel):
    """Lists the words of each block with their places in the input.

    Attributes:
        offset: where in the input the next region begins.
    """

    def __init__(self, replacer: WordReplacer, block_size: int | None = None, *, counts: bool = False) -> None:
        super().__init__(replacer, block_size or max(_FOUND_BLOCK, _smallest_block(replacer)), counts=counts)
        self.offset = 0

    @override
    def plan(self, window: memoryview, start: int) -> Callable[[], tuple[Buffer, int]]:
        offset = self.offset
        self.offset += len(window) - start
        return partial(self._replacer.find, window, start, offset, self.counts)


class HyperFire(Function[StartParameters, ProcessParameters]):
    """Replaces, or finds, each word of a text that stands in the corpus."""

    card = Card(
        name="axonerve_hyperfire",
        title="Search and replace of whole words",
        description=(
            "Replaces, or lists, every whole word of a text that stands in a corpus, in one pass. A word is a run of "
            "the characters `A-Z a-z 0-9 _`; what is replaced is exactly what GNU sed's `s/\\<word\\>/replacement/g` "
            "matches in the C locale. Where several corpus words begin at one place, the longest wins; replaced text "
            "is not looked at again. Corpus words are bytes taken literally, of any length, and may hold spaces, "
            "punctuation and bytes from 0x80."
        ),
        version="1.1",
        datafile="required",
        datafile_format=(
            "One word,replacement per line (LF or CRLF); the first comma separates, a replacement may be empty or "
            "hold commas; no duplicate and no empty word; a UTF-8 byte order mark at the start is skipped."
        ),
        limits=(
            "A corpus word whose first or last byte is no word character never matches; `start` counts such words.",
            "A corpus word cannot hold a comma or a line feed and has at most 64 KiB, its replacement 4 MiB.",
            "The compiled corpus stays in memory: about 100 to 200 bytes a word; counts take up to 24 a word and core.",
            "Upper and lower case differ, unless `ignore_case` says otherwise, which then goes for ASCII letters only.",
        ),
    )
    configure_parameters = StartParameters
    process_parameters = ProcessParameters

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._replacer: WordReplacer | None = None

    @override
    def configure(self, parameters: StartParameters, datafile: Path | None) -> Mapping[str, Any]:
        if datafile is None:
            raise DatafileError("axonerve_hyperfire: needs a corpus; give a datafile of lines word,replacement")
        started = time.perf_counter()
        self._replacer = replacer = _compile(datafile, parameters.ignore_case)
        answer: dict[str, Any] = {
            "words": replacer.words,
            "compile-seconds": round(time.perf_counter() - started, 6),
            "table-bytes": replacer.table_bytes,
        }
        if replacer.unmatchable_words:
            answer["unmatchable-words"] = replacer.unmatchable_words
            answer["warning"] = (
                f"{replacer.unmatchable_words} of {replacer.words} words can never match, the first on line "
                f"{replacer.first_unmatchable_line}: a word must begin and end with one of A-Z a-z 0-9 _"
            )
        return answer

    @override
    def process(self, source: Source | None, target: Target | None, parameters: ProcessParameters) -> Outcome:
        if source is None or target is None:
            raise FunctionFailedError("axonerve_hyperfire: needs an input and an output")
        if self._replacer is None:
            raise StateError("axonerve_hyperfire: process before configure; start it with a corpus first")
        kind, found = (FindKernel, "matches") if parameters.mode == "find" else (WordKernel, "replacements")
        kernel = kind(self._replacer, counts=parameters.counts)
        measurement = run_blocks(kernel, source, target, self.threads)
        answer: dict[str, Any] = {found: kernel.found}
        if kernel.counts is not None:
            answer |= _counted(kernel.counts)
        return Outcome(measurement, answer)


def _counted(counts: WordCounts) -> dict[str, Any]:
    """The counts as answers, bounded in number and in length."""
    words, distinct = counts.most_frequent(_MOST_COUNTS)
    answer: dict[str, Any] = {"words-found": distinct, "counts": [[_shown(word), count] for word, count in words]}
    if distinct > len(words):
        answer["counts-note"] = f"the {len(words):,} most frequent of {distinct:,} words found"
    return answer


def _shown(word: bytes) -> str:
    """A word as text, cut when it is very long; bytes that are no UTF-8 are shown in hexadecimal."""
    cut = "" if len(word) <= _LONGEST_COUNTED else "..."
    return word[:_LONGEST_COUNTED].decode("utf-8", "backslashreplace") + cut


def _compile(datafile: Path, ignore_case: bool) -> WordReplacer:
    try:
        corpus = datafile.read_bytes()
    except OSError as error:
        raise access_error("read", datafile, error) from error
    try:
        replacer = WordReplacer(corpus, ignore_case)
    except CorpusError as error:
        line, text, reason = error.args
        place = f"the corpus, line {line}: {text.decode('utf-8', 'backslashreplace')!r}: " if line else ""
        # Not its path: a node has it under a name of its own.
        raise DatafileError(place + reason) from None
    if _smallest_block(replacer) * replacer.growth > _LARGEST_OUTPUT:
        raise DatafileError(
            f"the corpus: a word of {replacer.longest_word} bytes next to one that grows {replacer.growth} times needs "
            "too much memory; shorten the longest word or the longest replacement"
        )
    return replacer
