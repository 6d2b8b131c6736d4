"""secureic_trng: exact sizes, statistics that a good source fails less than once in a thousand million runs, and the
health tests against sources that are broken on purpose."""

from __future__ import annotations

import io
import math
import random
import zlib
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acceleratorAPI import Accelerator
from acceleratorAPI.client.results import TransferProgress
from acceleratorAPI.errors import DiskFullError, FunctionFailedError, ParameterError
from acceleratorAPI.functions import secureic_trng
from acceleratorAPI.functions.base import Outcome, check_parameters
from acceleratorAPI.functions.secureic_trng import BLOCK_BYTES, RandomBytes, RandomParameters, SourceName
from acceleratorAPI.native._kernels import EntropyError, HealthTests, fill_from_kernel, fill_from_rdseed, has_rdseed
from acceleratorAPI.node.streams import PROGRESS_BYTES, CountedTarget, Progress
from acceleratorAPI.testing.function_contract import FunctionContract

SOURCES = [name for name in get_args(SourceName) if name != "rdseed" or has_rdseed()]
# RDSEED gives some 10 MB/s.
STATISTICS_BYTES = {"kernel": 16 << 20, "chacha20": 16 << 20, "rdseed": 2 << 20}
# How far a figure with a normal distribution may stray: beyond 7 sigma lies 2.6e-12 of it.
SIGMAS = 7


def drawn(size_bytes: int, source: str = "kernel", threads: int = 2) -> bytes:
    target = io.BytesIO()
    outcome = RandomBytes(threads).process(None, target, RandomParameters(nbBytes=size_bytes, source=source))
    assert outcome.specific["source"] == source
    assert (outcome.measurement.bytes_in, outcome.measurement.bytes_out) == (0, size_bytes)
    return target.getvalue()


class TestContract(FunctionContract):
    function = RandomBytes
    repeatable = False
    process_values: ClassVar = {"nbBytes": 3 * BLOCK_BYTES + 1}

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        assert len(got) == self.process_values["nbBytes"]
        assert len(zlib.compress(got)) >= len(got), "random bytes cannot be compressed"
        assert outcome.specific["source"] == "kernel"


class TestContractChaCha20(TestContract):
    process_values: ClassVar = {"nbBytes": 3 * BLOCK_BYTES + 1, "source": "chacha20"}

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        assert len(got) == self.process_values["nbBytes"]
        assert len(zlib.compress(got)) >= len(got)
        assert outcome.specific["reseed-bytes"] == BLOCK_BYTES


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "size_bytes", [0, 1, 7, 8, 9, 31, 32, 33, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES, 1_000_000]
)
def test_exactly_as_many_bytes_as_asked_for(source: str, size_bytes: int) -> None:
    got = drawn(size_bytes, source)
    assert len(got) == size_bytes
    if size_bytes > 64:
        assert any(got[-64:]), "the end was not filled"


@settings(max_examples=300, deadline=None)
@given(
    size_bytes=st.integers(0, 5 * BLOCK_BYTES),
    threads=st.integers(1, 4),
    source=st.sampled_from(["kernel", "chacha20"]),
)
def test_any_size_on_any_number_of_threads(size_bytes: int, threads: int, source: str) -> None:
    assert len(drawn(size_bytes, source, threads)) == size_bytes


@pytest.mark.parametrize("source", SOURCES)
def test_statistics(source: str) -> None:
    """Bits, bytes and neighbours are evenly spread. A test passes broken generators too; it finds gross faults."""
    data = drawn(STATISTICS_BYTES[source], source)
    ones = int.from_bytes(data, "big").bit_count()
    bits = 8 * len(data)
    assert abs(ones - bits / 2) < SIGMAS * math.sqrt(bits) / 2
    for step in (data, data[1::2], data[::2]):
        assert_even(Counter(step), 256, len(step))
    # Pairs of neighbours, by exclusive or: even whatever the single bytes are, if they are independent.
    shifted = int.from_bytes(data[:-1], "big") ^ int.from_bytes(data[1:], "big")
    assert_even(Counter(shifted.to_bytes(len(data) - 1, "big")), 256, len(data) - 1)


def assert_even(counts: Counter[int], kinds: int, total: int) -> None:
    """Pearson's chi-square; near normal at so many degrees of freedom (Wilson and Hilferty's cube root)."""
    expected = total / kinds
    square = sum((counts[kind] - expected) ** 2 for kind in range(kinds)) / expected
    free = kinds - 1
    sigmas = ((square / free) ** (1 / 3) - (1 - 2 / (9 * free))) / math.sqrt(2 / (9 * free))
    assert abs(sigmas) < SIGMAS


def test_chacha20_is_chacha20(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8439, A.1, vector 1: the key stream of a key of zeros, which is what a silent kernel leaves."""
    monkeypatch.setattr(secureic_trng, "fill_from_kernel", lambda _key: None)
    block = bytearray(BLOCK_BYTES)
    secureic_trng.chacha20()(memoryview(block))
    assert block[:32].hex() == "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"


@pytest.mark.parametrize("source", SOURCES)
def test_no_block_comes_twice(source: str) -> None:
    """Not within a run on several threads, and not in another run: words of 16 bytes never meet by chance."""
    size_bytes = STATISTICS_BYTES[source] // 4
    data = drawn(size_bytes, source, threads=4) + drawn(size_bytes, source, threads=4)
    words = {data[at : at + 16] for at in range(0, len(data), 16)}
    assert len(words) == len(data) // 16


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "'nbBytes' is required"),
        ({"nbBytes": -1}, "'nbBytes' = -1: .*greater than or equal to 0"),
        ({"nbBytes": 1 << 63}, "'nbBytes' = 9223372036854775808"),
        ({"nbBytes": 1.5}, "'nbBytes' = 1.5"),
        ({"nbBytes": "many"}, "'nbBytes' = 'many'"),
        ({"nbBytes": 1, "source": "dice"}, "'source' = 'dice': .*'rdseed'"),
        ({"nbbytes": 1}, "did you mean 'nbBytes'"),
    ],
)
def test_wrong_parameters_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        check_parameters(RandomParameters, values, "secureic_trng")


def test_a_cpu_without_rdseed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secureic_trng, "has_rdseed", lambda: False)
    target = io.BytesIO()
    with pytest.raises(ParameterError, match="this CPU has no RDSEED; use 'kernel'"):
        RandomBytes(1).process(None, target, RandomParameters(nbBytes=10, source="rdseed"))
    assert target.getvalue() == b""


def test_rdseed_where_there_is_none() -> None:
    """The kernel itself refuses too: it is never run where the instruction would be illegal."""
    buffer = bytearray(64)
    if has_rdseed():
        fill_from_rdseed(buffer)
        assert any(buffer)
    else:
        with pytest.raises(EntropyError, match="no RDSEED"):
            fill_from_rdseed(buffer)


def test_a_failed_health_test_fails_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = HealthTests()

    def stuck(block: memoryview) -> None:
        block[:] = bytes(len(block))
        tests.feed(block)

    monkeypatch.setattr(secureic_trng, "has_rdseed", lambda: True)
    monkeypatch.setitem(secureic_trng._FILLS, "rdseed", lambda: stuck)  # type: ignore[arg-type]
    target = io.BytesIO()
    with pytest.raises(FunctionFailedError, match=r"source = 'rdseed': .*adaptive proportion test on words: cutoff 2"):
        RandomBytes(1).process(None, target, RandomParameters(nbBytes=10 * BLOCK_BYTES, source="rdseed"))
    assert target.getvalue() == b""


def test_the_cutoffs_are_those_of_the_formula() -> None:
    """SP 800-90B, 4.4: with 2^-40 false alarms and half of the bits as entropy; in exact arithmetic."""
    alpha = Fraction(1, 1 << 40)

    def proportion(entropy_bits: int) -> int:
        p, below, successes = Fraction(1, 1 << entropy_bits), Fraction(0), -1
        while below < 1 - alpha:
            successes += 1
            below += (
                math.comb(HealthTests.WINDOW, successes) * p**successes * (1 - p) ** (HealthTests.WINDOW - successes)
            )
        return 1 + successes

    assert 1 + math.ceil(40 / 32) == HealthTests.WORD_REPETITIONS
    assert proportion(32) == HealthTests.WORD_PROPORTION
    assert proportion(4) == HealthTests.BYTE_PROPORTION
    assert HealthTests.STARTUP_WORDS >= 1024


def noise(size_bytes: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


def biased(size_bytes: int, seed: int, share: float) -> bytes:
    """Bytes of which a ``share`` is zero."""
    chooser = random.Random(seed)
    return bytes(0 if chooser.random() < share else chooser.randrange(256) for _ in range(size_bytes))


@pytest.mark.parametrize(
    ("source", "test"),
    [
        (lambda: bytes(4096), "adaptive proportion test on words: cutoff 2 reached at sample 1"),
        (lambda: b"\xff" * 4096, "adaptive proportion test on words"),
        (lambda: noise(8, 1) * 500, "adaptive proportion test on words"),
        (lambda: noise(800, 2) + noise(8, 3) * 3, "repetition count test on words: cutoff 3 reached at sample 102"),
        (lambda: noise(16, 4) * 200, "adaptive proportion test on words"),
        (lambda: noise(8 * 511, 5) * 2, "adaptive proportion test on words: cutoff 2 reached at sample 511"),
        (lambda: biased(65536, 6, 0.5), "adaptive proportion test on bytes: cutoff 78"),
        (lambda: biased(65536, 7, 0.25), "adaptive proportion test on bytes"),
        (lambda: bytes(byte & 0x03 for byte in noise(65536, 8)), "adaptive proportion test on bytes"),
    ],
    ids=["zeros", "ones", "stuck", "stuck later", "alternating", "period 511", "half zero", "quarter zero", "two bits"],
)
def test_health_tests_catch(source: Callable[[], bytes], test: str) -> None:
    with pytest.raises(EntropyError, match=test):
        HealthTests().feed(source())


@pytest.mark.parametrize("size_bytes", [0, 8, 16 << 20])
def test_health_tests_pass_a_good_source(size_bytes: int) -> None:
    data = bytearray(size_bytes)
    fill_from_kernel(data)
    HealthTests().feed(data)


def test_health_tests_go_on_from_call_to_call() -> None:
    tests = HealthTests()
    tests.feed(b"abcdefgh" + b"12345678" * 2)
    with pytest.raises(EntropyError, match="repetition count test on words: cutoff 3 reached at sample 3"):
        tests.feed(b"12345678")
    with pytest.raises(ValueError, match="whole words"):
        HealthTests().feed(b"1234567")


@settings(max_examples=1000, deadline=None)
@given(
    words=st.lists(
        st.sampled_from([b"aaaaaaaa", b"abcdefgh", b"12345678"]) | st.binary(min_size=8, max_size=8), max_size=600
    )
)
def test_health_tests_agree_with_a_plain_one(words: list[bytes]) -> None:
    try:
        HealthTests().feed(b"".join(words))
        healthy = True
    except EntropyError:
        healthy = False
    assert healthy == plainly_healthy(words)


def plainly_healthy(words: list[bytes]) -> bool:
    """The three tests, from their definitions, by looking at the whole."""
    bytes_ = list(b"".join(words))
    repeated = any(words[at] == words[at + 1] == words[at + 2] for at in range(len(words) - 2))

    def frequent(samples: list[Any], cutoff: int) -> bool:
        starts = range(0, len(samples), HealthTests.WINDOW)
        return any(samples[at : at + HealthTests.WINDOW].count(samples[at]) >= cutoff for at in starts)

    return not (
        repeated or frequent(words, HealthTests.WORD_PROPORTION) or frequent(bytes_, HealthTests.BYTE_PROPORTION)
    )


def test_filling_wants_writable_memory() -> None:
    for fill in (fill_from_kernel, fill_from_rdseed):
        with pytest.raises((BufferError, TypeError)):
            fill(b"read-only")


def test_progress_tells_how_much_there_will_be(tmp_path: Path) -> None:
    told: list[tuple[int, int, int | None]] = []
    progress = Progress(lambda *counts: told.append(counts))
    size_bytes = PROGRESS_BYTES + 1
    with FileIO(tmp_path / "out", "wb") as file:
        target = CountedTarget(file, progress, None, summed=False)
        RandomBytes(2).process(None, target, RandomParameters(nbBytes=size_bytes))
    assert told
    assert {expected for _, _, expected in told} == {size_bytes}


def test_through_a_node(tmp_path: Path) -> None:
    output = tmp_path / "random.bin"
    with Accelerator("secureic_trng") as accelerator:
        accelerator.start()
        result = accelerator.process(dst=output, nbBytes=1_000_001)
        assert output.stat().st_size == result.bytes_out == 1_000_001
        assert result.specific["source"] == "kernel"
        told: list[TransferProgress] = []
        accelerator.process(dst=output, nbBytes=2_000_000, progress=told.append)
        assert (told[-1].phase, told[-1].bytes_done, told[-1].bytes_total) == ("compute", 2_000_000, 2_000_000)
        accelerator.process(dst=output, nbBytes=1_000_001)
        assert len(accelerator.process(nbBytes=10, source="chacha20").data or b"") == 10
        assert accelerator.process(nbBytes=0).data == b""
        with pytest.raises(ParameterError, match="nbBytes"):
            accelerator.process(dst=output, nbBytes=-1)
        with pytest.raises(ParameterError, match=r"'nbBytes' = True: use a number, not true or false$"):
            accelerator.process(dst=output, nbBytes=True)
        with pytest.raises(DiskFullError, match=r"would have 9223372036854775807 bytes and the disk has \d+ free"):
            accelerator.process(dst=output, nbBytes=(1 << 63) - 1)
    assert output.stat().st_size == 1_000_001
