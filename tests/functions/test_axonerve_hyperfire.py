"""axonerve_hyperfire, judged by a regular expression on bytes, by GNU sed, and by plain Python on the big corpus."""

from __future__ import annotations

import io
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from acceleratorAPI.drivers.cpu import run_blocks
from acceleratorAPI.errors import DatafileError, FileAccessError, StateError
from acceleratorAPI.functions.axonerve_hyperfire import (
    HyperFire,
    ProcessParameters,
    StartParameters,
    WordKernel,
)
from acceleratorAPI.functions.base import Outcome
from acceleratorAPI.native._kernels import WordReplacer
from acceleratorAPI.testing.function_contract import FunctionContract

WORD = rb"[A-Za-z0-9_]"


def reference(corpus: Mapping[bytes, bytes], text: bytes) -> tuple[bytes, int]:
    """The meaning, by Python's ``re``: longest word first, whole words only."""
    words = sorted((w for w in corpus if re.fullmatch(WORD, w[:1]) and re.fullmatch(WORD, w[-1:])), key=len)
    if not words:
        return text, 0
    any_word = b"|".join(re.escape(word) for word in reversed(words))
    pattern = rb"(?<!" + WORD + rb")(?:" + any_word + rb")(?!" + WORD + rb")"
    return re.subn(pattern, lambda match: corpus[match.group()], text)


def as_file(corpus: Mapping[bytes, bytes], end: bytes = b"\n") -> bytes:
    return b"".join(word + b"," + text + end for word, text in corpus.items())


def replaced(corpus: Mapping[bytes, bytes], text: bytes, block_size: int | None = None) -> tuple[bytes, int]:
    target = io.BytesIO()
    kernel = WordKernel(WordReplacer(as_file(corpus)), block_size)
    run_blocks(kernel, io.BytesIO(text), target, 2)
    return target.getvalue(), kernel.found


class TestContract(FunctionContract):
    function = HyperFire

    @pytest.fixture
    def datafile(self, corpus_file: Path) -> Path:
        return corpus_file

    @pytest.fixture(autouse=True)
    def _read_corpus(self, corpus: dict[bytes, bytes]) -> None:
        self.corpus = corpus

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        count = 0

        def turn(match: re.Match[bytes]) -> bytes:
            nonlocal count
            count += match.group() in self.corpus
            return self.corpus.get(match.group(), match.group())

        assert got == re.sub(WORD + rb"+", turn, given)
        assert outcome.specific == {"replacements": count}


words = st.text(alphabet="ab_ -'é\x00\r0", min_size=1, max_size=22).map(str.encode)
long_words = st.sampled_from([b"a" * 15, b"a" * 16, b"a" * 17, b"a" * 33, b"b" * 40, b"new york city", b"new york"])
texts = st.one_of(
    st.binary(max_size=12).filter(lambda text: b"\n" not in text and not text.endswith(b"\r")),
    st.sampled_from([b"x" * 15, b"x" * 24, b"x" * 25, b"x" * 32, b"x" * 33, b"x" * 500]),
)
corpora = st.dictionaries(st.one_of(words, long_words), texts, min_size=1, max_size=12)


@settings(max_examples=600, deadline=None)
@example({b"a": b"1", b"a-b": b"2"}, [b"a-b-a-b-", b"a"], 0)
@example({b"a b": b"1", b"b c": b"2"}, [b"a b c"], 0)
@example({b"b": b"1"}, [b"a" * 100, b" b"], 0)
@example({b"a ": b"1", b"b": b"2"}, [b"a b" * 20], 0)  # "a" begins only a word that can never match
@given(corpora, st.lists(st.one_of(words, long_words, st.binary(max_size=9)), max_size=60), st.integers(0, 60))
def test_any_text_in_any_blocks(corpus: dict[bytes, bytes], pieces: list[bytes], more: int) -> None:
    pieces = [piece for word in corpus for piece in (word, b" ")] + pieces
    random.Random(more).shuffle(pieces)
    text = b"".join(pieces)
    longest = max((len(word) for word in corpus), default=0)
    assert replaced(corpus, text) == reference(corpus, text)
    assert replaced(corpus, text, 2 * longest + 2 + more) == reference(corpus, text)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 4095, 4096, 4097, 10_000])
@pytest.mark.parametrize("text_size", [0, 1, 16, 23, 24, 25, 32, 33, 5000])
def test_sizes_at_which_the_tables_differ(size: int, text_size: int) -> None:
    corpus = {b"w" * size: b"R" * text_size, b"w" * size + b" tail": b"longer"}
    for gap in (b" ", b"\n" * 17, b"\xff" * 70, b"." * 5000):
        text = gap.join([b"w" * size, b"w" * (size + 1), b"w" * (size - 1), b"tail", b"w" * size])
        text = text + b" tail" + text
        assert replaced(corpus, text) == reference(corpus, text)


def test_every_byte_is_or_is_not_a_word_character() -> None:
    for value in range(256):
        byte = bytes([value])
        text = b"a" + byte + b"a" + b" " * 64 + byte + b"a" + byte
        assert replaced({b"a": b"X"}, text) == reference({b"a": b"X"}, text), byte


def test_a_text_of_one_endless_word() -> None:
    text = b"a" * 3_000_000 + b" a"
    assert replaced({b"a": b"X"}, text) == (b"a" * 3_000_000 + b" X", 1)


def test_a_text_of_separators_that_stand_inside_words() -> None:
    corpus = {b"new york": b"NY", b"york new": b"YN"}
    text = b"new york " * 300_000
    assert replaced(corpus, text) == (b"NY " * 300_000, 300_000)


def test_a_long_chain_of_compound_words_costs_linear_time() -> None:
    word = b"a " * 2000 + b"b"
    text = (b"a " * 1999 + b"c ") * 20
    assert replaced({word: b"X"}, text) == (text, 0)
    blanks = b"a" + b" " * 3_000_000 + b"b"
    assert replaced({b"a b": b"X"}, blanks) == (blanks, 0)


def sed_script(corpus: Mapping[bytes, bytes]) -> bytes:
    def literal(word: bytes) -> bytes:
        return re.sub(rb"([][\\/.*^$])", rb"\\\1", word)

    def replacement(text: bytes) -> bytes:
        return re.sub(rb"([\\/&])", rb"\\\1", text)

    lines = (b"s/\\<" + literal(word) + b"\\>/" + replacement(text) + b"/g\n" for word, text in corpus.items())
    return b"".join(lines)


def sed(corpus: Mapping[bytes, bytes], text: bytes, tmp_path: Path) -> bytes:
    program = shutil.which("sed")
    assert program, "these tests need GNU sed"
    script = tmp_path / "script.sed"
    script.write_bytes(sed_script(corpus))
    command = [program, "-f", script]
    return subprocess.run(command, input=text, stdout=subprocess.PIPE, check=True, env={"LC_ALL": "C"}).stdout


def test_equals_sed_on_the_historical_corpus(corpus: dict[bytes, bytes], tmp_path: Path) -> None:
    # No replacement of this corpus is one of its words: sed's passes, one after the other, equal one pass.
    text = Path(re.__file__).read_bytes()[:20_000] + b" the\xe9the\n the-the the_the\n" + " l'été the\n".encode()
    assert replaced(corpus, text)[0] == sed(corpus, text, tmp_path)


@pytest.mark.parametrize(
    ("corpus", "text"),
    [
        ({"naïve".encode(): b"1"}, "naïve naïv naïvely unnaïve (naïve)\n".encode()),
        ({b"don't": b"1"}, b"don't don'ts don 't 'don't'\n"),
        ({b"new york": b"1"}, b"new york new  york renew york new yorker\n"),
        ({b"'tis": b"1", b"so-": b"2", b"-": b"3"}, b"'tis a 'tis so- so-so - a-b\n"),
        ({b"a.b*c": b"1"}, b"a.b*c axbbc a.b*c_ \n"),
        ({b"x_1": b"1"}, b"x_1 x_12 _x_1 x-x_1\n"),
        ({b"a a": b"1"}, b"a a a a a\n"),
        ({b"na": b"1", b"ve": b"2"}, "naïve\n".encode()),
        ({b"a": b""}, b"a b a\na\n\na"),
    ],
)
def test_equals_sed_on_odd_words(corpus: dict[bytes, bytes], text: bytes, tmp_path: Path) -> None:
    assert replaced(corpus, text)[0] == sed(corpus, text, tmp_path) == reference(corpus, text)[0]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(words, st.just(b"R"), min_size=1, max_size=1), st.lists(words, max_size=20))
def test_equals_sed_on_any_single_word(
    tmp_path_factory: pytest.TempPathFactory, corpus: dict[bytes, bytes], pieces: list[bytes]
) -> None:
    text = b" ".join([*corpus, *pieces, *corpus]) + b"\n"
    assert replaced(corpus, text)[0] == sed(corpus, text, tmp_path_factory.mktemp("sed"))


def configured(tmp_path: Path, corpus: bytes, ignore_case: bool = False) -> tuple[HyperFire, dict[str, object]]:
    path = tmp_path / "corpus.csv"
    path.write_bytes(corpus)
    function = HyperFire(2)
    return function, dict(function.configure(StartParameters(ignore_case=ignore_case), path))


@pytest.mark.parametrize(
    ("corpus", "said"),
    [
        (b"", "^the corpus is empty"),
        (b"\xef\xbb\xbf", "^the corpus is empty"),
        (b"a,1\nb\n", r"line 2: 'b': no comma"),
        (b"a,1\n\nb,2\n", r"line 2: '': no comma"),
        (b"a,1\r\n,2\r\n", r"line 2: ',2': the word before the comma is empty"),
        (b"a,1\nb,2\na,3\n", r"line 3: 'a': duplicate word, first on line 1"),
        (b"new york,1\nb,2\nnew york,1", r"line 3: 'new york': duplicate word, first on line 1"),
        (b"new york,1\nnew,2\nnew,1", r"line 3: 'new': duplicate word, first on line 2"),
        (b"new,1\nnew york,1\nnew,2", r"line 3: 'new': duplicate word, first on line 1"),
        (b"-,1\nb,2\n-,3", r"line 3: '-': duplicate word, first on line 1"),
        (b"x" * 40 + b",1\n" + b"x" * 40 + b",1\n", r"line 2: 'xxxx.*': duplicate word, first on line 1"),
        (b"caf\xe9,1\ncaf\xe9,1\n", r"line 2: 'caf\\\\xe9': duplicate word"),
    ],
)
def test_a_wrong_corpus_is_an_error_with_its_line(tmp_path: Path, corpus: bytes, said: str) -> None:
    with pytest.raises(DatafileError, match=said):
        configured(tmp_path, corpus)


GROWING = """
import io, resource, sys
from pathlib import Path
from acceleratorAPI.functions.axonerve_hyperfire import HyperFire, ProcessParameters, StartParameters

class Discard:
    size_bytes = 0
    def write(self, data):
        self.size_bytes += len(data)
        return len(data)

function, target = HyperFire(2), Discard()
function.configure(StartParameters(), Path(sys.argv[1]))
text = io.BytesIO(b"a " * 50_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
function.process(text, target, ProcessParameters())
print(target.size_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("size_bytes", [1000, 20_000, 1_000_000])
def test_words_that_grow_long_take_little_memory(tmp_path: Path, size_bytes: int) -> None:
    (tmp_path / "corpus.csv").write_bytes(b"a," + b"x" * size_bytes)
    code = GROWING.replace("50_000", "500") if size_bytes == 1_000_000 else GROWING
    command = [sys.executable, "-c", code, str(tmp_path / "corpus.csv")]
    made, grown_kib = map(int, subprocess.run(command, check=True, capture_output=True, timeout=60).stdout.split())
    words = 500 if size_bytes == 1_000_000 else 50_000
    assert made == words * (size_bytes + 1)
    assert grown_kib < 64 << 10


def test_a_corpus_that_no_block_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatafileError, match="a word of 60000 bytes next to one that grows 501 times"):
        configured(tmp_path, b"a," + b"x" * 1000 + b"\n" + b"b" * 60_000 + b",y")
    with pytest.raises(DatafileError, match=r"line 1: 'bbb.*longer than 64 KiB"):
        configured(tmp_path, b"b" * 65_537 + b",y")
    function, _ = configured(tmp_path, b"a,xxxx\n" + b"b" * 65_536 + b",y")
    target = io.BytesIO()
    function.process(io.BytesIO(b"a " + b"b" * 65_536 + b" a"), target, ProcessParameters())
    assert target.getvalue() == b"xxxx y xxxx"


def test_line_ends_commas_and_byte_order_mark(tmp_path: Path) -> None:
    function, answer = configured(tmp_path, b"\xef\xbb\xbfa,1,2\r\nb,\r\nc\rd,3\nlast,4")
    assert answer["words"] == 4
    assert "warning" not in answer
    target = io.BytesIO()
    outcome = function.process(io.BytesIO(b"a b c\rd last"), target, ProcessParameters())
    assert target.getvalue() == b"1,2  3 4"
    assert outcome.specific == {"replacements": 4}


def test_words_that_cannot_match_are_reported(tmp_path: Path) -> None:
    _, answer = configured(tmp_path, "a,1\n'tis,2\ncafé,3\n".encode())
    assert answer["words"] == 3
    assert answer["unmatchable-words"] == 2
    assert "2 of 3 words can never match, the first on line 2" in str(answer["warning"])


def test_missing_corpus(tmp_path: Path) -> None:
    with pytest.raises(DatafileError, match="needs a corpus"):
        HyperFire(1).configure(StartParameters(), None)
    with pytest.raises(FileAccessError, match="No such file"):
        HyperFire(1).configure(StartParameters(), tmp_path / "none.csv")
    with pytest.raises(StateError, match="before configure"):
        HyperFire(1).process(io.BytesIO(b""), io.BytesIO(), ProcessParameters())


def test_a_million_words_of_many_kinds() -> None:
    corpus = {f"w{i * 2654435761 % (1 << 32):x}".encode(): b"r%d" % i for i in range(900_000)}
    corpus |= {b"an identifier_of_more_than_sixteen_%d" % i: b"L%d" % i for i in range(50_000)}
    corpus |= {
        b"identifier_of_more_than_sixteen_%d" % i: b"long replacement of many bytes %d" % i for i in range(50_000)
    }
    assert len(corpus) == 1_000_000
    chooser = random.Random(5)
    chosen = [
        *chooser.choices(list(corpus), k=30_000),
        *(b"w%x" % chooser.getrandbits(32) for _ in range(30_000)),
        b"an",
    ]
    chooser.shuffle(chosen)
    # Separated by two blanks, a compound word cannot arise by chance.
    expected = [corpus.get(word, word) for word in chosen]
    assert replaced(corpus, b"  ".join(chosen)) == (b"  ".join(expected), sum(word in corpus for word in chosen))
