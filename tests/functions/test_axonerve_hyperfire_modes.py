"""The modes of axonerve_hyperfire: case ignored, words counted, words found; judged by Python's ``re`` and GNU grep."""

from __future__ import annotations

import io
import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from acceleratorAPI.drivers.cpu import run_blocks
from acceleratorAPI.errors import DatafileError
from acceleratorAPI.functions.axonerve_hyperfire import (
    FindKernel,
    HyperFire,
    ProcessParameters,
    StartParameters,
    WordKernel,
)
from acceleratorAPI.functions.base import Outcome
from acceleratorAPI.native._kernels import WordReplacer
from acceleratorAPI.testing.function_contract import FunctionContract

WORD = rb"[A-Za-z0-9_]"
Corpus = Mapping[bytes, bytes]


def pattern_of(corpus: Corpus, ignore_case: bool) -> re.Pattern[bytes]:
    """The meaning, by Python's ``re``: longest word first, whole words only. On bytes, IGNORECASE is ASCII's."""
    words = sorted((w for w in corpus if re.fullmatch(WORD, w[:1]) and re.fullmatch(WORD, w[-1:])), key=len)
    any_word = b"|".join(re.escape(word) for word in reversed(words)) or rb"(?!)"
    whole = rb"(?<!" + WORD + rb")(?:" + any_word + rb")(?!" + WORD + rb")"
    return re.compile(whole, re.IGNORECASE if ignore_case else 0)


def expected(corpus: Corpus, text: bytes, ignore_case: bool) -> tuple[bytes, bytes, list[tuple[bytes, int]]]:
    """The output of both modes, and the counts."""
    spelled = {word.lower() if ignore_case else word: word for word in corpus}
    pattern = pattern_of(corpus, ignore_case)

    def word_of(match: re.Match[bytes]) -> bytes:
        return spelled[match.group().lower() if ignore_case else match.group()]

    matches = list(pattern.finditer(text))
    replaced = pattern.sub(lambda match: corpus[word_of(match)], text)
    listed = b"".join(b"%d:%s\n" % (match.start(), match.group()) for match in matches)
    counts = Counter(word_of(match) for match in matches)
    return replaced, listed, sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


def got(
    corpus: Corpus, text: bytes, ignore_case: bool, block_size: int | None = None
) -> tuple[bytes, bytes, list[tuple[bytes, int]]]:
    replacer = WordReplacer(b"".join(word + b"," + new + b"\n" for word, new in corpus.items()), ignore_case)
    outputs, counts = [], []
    for kind in (WordKernel, FindKernel):
        kernel = kind(replacer, block_size, counts=True)
        target = io.BytesIO()
        run_blocks(kernel, io.BytesIO(text), target, 2)
        outputs.append(target.getvalue())
        assert kernel.counts is not None
        words, distinct = kernel.counts.most_frequent(100_000)
        assert distinct == len(words)
        assert kernel.found == sum(count for _, count in words)
        counts.append(words)
    assert counts[0] == counts[1]
    plain = io.BytesIO()
    run_blocks(WordKernel(replacer, block_size), io.BytesIO(text), plain, 2)
    assert plain.getvalue() == outputs[0], "counting changed the output"
    return outputs[0], outputs[1], counts[0]


words = st.one_of(
    st.text(alphabet="aAbB_zZ -'éÉ@[`{0", min_size=1, max_size=22).map(str.encode),
    st.sampled_from([b"a" * 15, b"A" * 16, b"a" * 17, b"A" * 33, b"New York City", b"new york", b"New", b"NEW-@york"]),
)
texts = st.one_of(
    st.binary(max_size=12).filter(lambda text: b"\n" not in text and not text.endswith(b"\r")),
    st.sampled_from([b"x" * 24, b"x" * 25, b"x" * 33]),
)
corpora = st.dictionaries(words, texts, min_size=1, max_size=12)


def distinct_under(corpus: Corpus, ignore_case: bool) -> dict[bytes, bytes]:
    """The corpus without the words that are duplicates when case is ignored."""
    return dict({word.lower() if ignore_case else word: (word, text) for word, text in corpus.items()}.values())


@settings(max_examples=700, deadline=None)
@example({b"_": b"1", b"?": b"2", b"a_Z": b"3"}, [b"_ \x7f A_z ?"], True, 0)  # "_" folds to no other word character
@example({b"a@b": b"1"}, [b"A@B a`b"], True, 0)  # "@" and "`" differ by the bit that letters differ by
@example({"é".encode() + b"a": b"1", b"a\xc3\x89a": b"2"}, [b"A\xc3\x89A a\xc3\xa9a"], True, 0)
@example({b"New": b"1", b"new york": b"2"}, [b"NEW YORK nEW"], True, 0)
@example({b"new york": b"1", b"NEW": b"2"}, [b"New York neW new"], True, 0)
@given(corpora, st.lists(st.one_of(words, st.binary(max_size=9)), max_size=50), st.booleans(), st.integers(0, 60))
def test_any_text_in_any_blocks(corpus: dict[bytes, bytes], pieces: list[bytes], ignore_case: bool, more: int) -> None:
    corpus = distinct_under(corpus, ignore_case)
    chooser = random.Random(more)
    pieces = [piece for word in corpus for piece in (word, b" ", word.swapcase(), b" ")] + pieces
    chooser.shuffle(pieces)
    text = b"".join(pieces)
    longest = max(len(word) for word in corpus)
    wanted = expected(corpus, text, ignore_case)
    assert got(corpus, text, ignore_case) == wanted
    assert got(corpus, text, ignore_case, 2 * longest + 2 + more) == wanted


@settings(max_examples=300, deadline=None)
@given(corpora, st.data())
def test_duplicates_when_case_is_ignored_are_errors_with_their_lines(
    tmp_path_factory: pytest.TempPathFactory, corpus: dict[bytes, bytes], data: st.DataObject
) -> None:
    lines = list(distinct_under(corpus, True))
    first = data.draw(st.integers(0, len(lines) - 1))
    second = data.draw(st.integers(first + 1, len(lines)))
    other = bytes(data.draw(st.sampled_from((bytes([c]).lower()[0], bytes([c]).upper()[0]))) for c in lines[first])
    lines.insert(second, other)
    path = tmp_path_factory.mktemp("corpus") / "corpus.csv"
    path.write_bytes(b"".join(word + b",x\n" for word in lines))
    said = rf"line {second + 1}: .*duplicate word, first on line {first + 1}, as case is ignored"
    with pytest.raises(DatafileError, match=said):
        HyperFire(1).configure(StartParameters(ignore_case=True), path)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 4095, 4096, 4097])
@pytest.mark.parametrize("ignore_case", [False, True])
def test_sizes_at_which_the_tables_differ(size: int, ignore_case: bool) -> None:
    corpus = {b"w" * size: b"R" * 25, b"w" * size + b" taIL": b"longer", b"Ww": b"short"}
    corpus = distinct_under(corpus, ignore_case)
    for gap in (b" ", b"\n" * 17, b"\xff" * 70):
        text = gap.join([b"w" * size, b"W" * size, b"w" * (size + 1), b"tail", b"Ww", b"w" * size])
        text = text + b" taIL" + text + b" TAIL" + gap
        assert got(corpus, text, ignore_case) == expected(corpus, text, ignore_case)


@pytest.mark.parametrize("ignore_case", [False, True])
def test_words_at_every_place_around_the_border_of_a_chunk_and_of_a_block(ignore_case: bool) -> None:
    corpus = {b"Alpha": b"1", b"beta_gamma_delta_epsilon": b"22", b"new york": b"333", b"z\x00\xff\x80z": b"4444"}
    for word in corpus:
        for border in (64, 4096, 65536):
            for at in range(border - len(word) - 2, border + 3):
                text = b"." * at + word + b" x " + word.swapcase() + b"." * 40
                assert got(corpus, text, ignore_case, 65536) == expected(corpus, text, ignore_case), (word, at)


@pytest.mark.parametrize("ignore_case", [False, True])
def test_a_table_beyond_the_caches(ignore_case: bool) -> None:
    """So large a table is read ahead: another loop."""
    corpus = {b"Word%x" % (i * 2654435761 % (1 << 32)): b"r%d" % i for i in range(60_000)}
    corpus |= {
        b"An identifier_of_more_than_sixteen_%d" % i: b"long replacement of many bytes %d" % i for i in range(99)
    }
    chooser = random.Random(3)
    chosen = [*chooser.choices(list(corpus), k=4000), *(b"w" * size for size in range(1, 90))] * 2
    chosen += [word.swapcase() for word in chosen[::7]]
    chooser.shuffle(chosen)
    spelled = {word.lower() if ignore_case else word: word for word in corpus}
    # Separated by two blanks, no compound word arises by chance.
    known = [spelled.get(word.lower() if ignore_case else word) for word in chosen]
    replaced, listed, counts = got(corpus, b"  ".join(chosen), ignore_case)
    assert replaced == b"  ".join(corpus[word] if word else other for word, other in zip(known, chosen, strict=True))
    assert [line.partition(b":")[2] for line in listed.splitlines()] == [
        other for word, other in zip(known, chosen, strict=True) if word
    ]
    assert dict(counts) == Counter(word for word in known if word)


def grep(corpus: Corpus, text: bytes, ignore_case: bool, tmp_path: Path) -> bytes:
    program = shutil.which("grep")
    assert program, "this test needs GNU grep"
    (tmp_path / "words").write_bytes(b"".join(word + b"\n" for word in corpus))
    options = "-aobwF" + ("i" if ignore_case else "")
    command = [program, options, "-f", tmp_path / "words"]
    return subprocess.run(command, input=text, stdout=subprocess.PIPE, check=True, env={"LC_ALL": "C"}).stdout


@pytest.mark.parametrize("ignore_case", [False, True])
def test_finds_what_grep_finds(corpus: dict[bytes, bytes], tmp_path: Path, ignore_case: bool) -> None:
    text = Path(re.__file__).read_bytes() + b" The\xe9THE\n the-the the_the\n" + " l'été the\n".encode()
    corpus = distinct_under(corpus, ignore_case)  # it has "word" and "Word"
    assert got(corpus, text, ignore_case)[1] == grep(corpus, text, ignore_case, tmp_path)


@pytest.mark.parametrize("begins", [2**32 - 5, 2**32, 10**12, 2**64 - 200])
def test_places_beyond_32_bits(begins: int) -> None:
    kernel = FindKernel(WordReplacer(b"cat,x\n"), 16)
    kernel.offset = begins
    text = b"cat " * 25
    target = io.BytesIO()
    run_blocks(kernel, io.BytesIO(text), target, 2)
    assert target.getvalue() == b"".join(b"%d:cat\n" % (begins + 4 * i) for i in range(25))


def configured(tmp_path: Path, corpus: bytes, ignore_case: bool = False) -> HyperFire:
    path = tmp_path / "corpus.csv"
    path.write_bytes(corpus)
    function = HyperFire(2)
    function.configure(StartParameters(ignore_case=ignore_case), path)
    return function


def test_the_answers(tmp_path: Path) -> None:
    function = configured(tmp_path, b"Cat,dog\nnew york,NY\nz\xff\\z,q\n" + b"y" * 300 + b",long\n", ignore_case=True)
    text = b"cat CAT New York Z\xff\\z " + b"Y" * 300
    counts = [["Cat", 2], ["new york", 1], ["y" * 200 + "...", 1], ["z\\xff\\z", 1]]
    target = io.BytesIO()
    outcome = function.process(io.BytesIO(text), target, ProcessParameters(mode="find", counts=True))
    assert outcome.specific == {"matches": 5, "words-found": 4, "counts": counts}
    assert target.getvalue().splitlines()[:3] == [b"0:cat", b"4:CAT", b"8:New York"]
    outcome = function.process(io.BytesIO(text), io.BytesIO(), ProcessParameters(counts=True))
    assert outcome.specific == {"replacements": 5, "words-found": 4, "counts": counts}
    outcome = function.process(io.BytesIO(text), io.BytesIO(), ProcessParameters())
    assert outcome.specific == {"replacements": 5}


def test_counts_are_bounded_and_say_so(tmp_path: Path) -> None:
    function = configured(tmp_path, b"".join(b"w%d,x\n" % i for i in range(12_000)))
    text = b" ".join(b"w%d" % i for i in range(12_000)) + b" w11999" * 2 + b" w7"
    answer = function.process(io.BytesIO(text), io.BytesIO(), ProcessParameters(counts=True)).specific
    assert answer["words-found"] == 12_000
    assert answer["counts-note"] == "the 10,000 most frequent of 12,000 words found"
    assert len(answer["counts"]) == 10_000
    assert answer["counts"][:3] == [["w11999", 3], ["w7", 2], ["w0", 1]]
    assert [word for word, count in answer["counts"][2:]] == sorted(f"w{i}" for i in range(11_999) if i != 7)[:9998]


def test_counts_belong_to_one_replacer() -> None:
    counts = WordReplacer(b"a,1").counts()
    with pytest.raises(ValueError, match="another replacer"):
        WordReplacer(b"a,1").replace(b"a", 0, counts)
    assert counts.most_frequent(10) == ([], 0)
    assert counts.most_frequent(0) == ([], 0)


class TestFindContract(FunctionContract):
    function = HyperFire
    configure_values: ClassVar = {"ignore_case": True}
    process_values: ClassVar = {"mode": "find", "counts": True}
    borders: ClassVar = (4096, 1 << 18)

    @pytest.fixture
    def datafile(self, tmp_path: Path) -> Path:
        path = tmp_path / "corpus.csv"
        path.write_bytes(b"THE,x\nSat_On,x\ncat,x\n0,x\n")
        return path

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        found = list(re.finditer(rb"(?<!\w)(?:the|sat_on|cat|0)(?!\w)", given, re.IGNORECASE))
        assert got == b"".join(b"%d:%s\n" % (match.start(), match.group()) for match in found)
        assert outcome.specific["matches"] == len(found)
        spelled = {b"the": "THE", b"sat_on": "Sat_On", b"cat": "cat", b"0": "0"}
        assert dict(outcome.specific["counts"]) == Counter(spelled[match.group().lower()] for match in found)
