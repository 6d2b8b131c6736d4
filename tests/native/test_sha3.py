"""SHA-3 on every path this CPU has, judged by NIST's vectors and by hashlib."""

from __future__ import annotations

import hashlib
import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acceleratorAPI.native._kernels import Sha3, cpu_of_machine

VECTORS = Path(__file__).parents[1] / "data" / "sha3"
LEVELS = ["portable", "avx2", "avx512"]
PATHS = LEVELS[: LEVELS.index(cpu_of_machine()) + 1]
# Name, hashlib's name, rate and digest in bytes (0: any).
KINDS = {
    "sha3-224": ("sha3_224", 144, 28),
    "sha3-256": ("sha3_256", 136, 32),
    "sha3-384": ("sha3_384", 104, 48),
    "sha3-512": ("sha3_512", 72, 64),
    "shake-128": ("shake_128", 168, 0),
    "shake-256": ("shake_256", 136, 0),
}


def expected(kind: str, message: bytes, length: int) -> bytes:
    name, _, size = KINDS[kind]
    if size:
        return hashlib.new(name, message).digest()
    shake = hashlib.shake_128(message) if name == "shake_128" else hashlib.shake_256(message)
    return shake.digest(length)


def computed(kind: str, message: bytes, length: int, cpu: str, cuts: list[int]) -> bytes:
    sha3 = Sha3(kind, KINDS[kind][2] or length, cpu)
    at = 0
    for cut in [*sorted(cut % (len(message) + 1) for cut in cuts), len(message)]:
        sha3.update(message[at:cut])
        at = cut
    return sha3.digest()


@pytest.mark.parametrize("cpu", PATHS)
@pytest.mark.parametrize(
    ("file", "kind", "answer"),
    [
        ("SHA3_256LongMsg.rsp", "sha3-256", "MD"),
        ("SHA3_512LongMsg.rsp", "sha3-512", "MD"),
        ("SHAKE128LongMsg.rsp", "shake-128", "Output"),
    ],
)
def test_vectors_of_nist(file: str, kind: str, answer: str, cpu: str) -> None:
    text = (VECTORS / file).read_text()
    records = re.findall(rf"Len = (\d+)\nMsg = ([0-9a-f]+)\n{answer} = ([0-9a-f]+)", text)
    assert len(records) == 14
    for bits, message, digest in records:
        data, right = bytes.fromhex(message), bytes.fromhex(digest)
        assert len(data) * 8 == int(bits)
        assert computed(kind, data, len(right), cpu, []) == right


@pytest.mark.parametrize("cpu", PATHS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_size_around_the_ends_of_blocks(kind: str, cpu: str) -> None:
    rate = KINDS[kind][1]
    sizes = {0, 1, *range(rate - 2, rate + 2), 2 * rate - 1, 2 * rate, 2 * rate + 1, 100 * rate, 100 * rate + rate - 1}
    for size in sorted(sizes):
        message = random.Random(size).randbytes(size)
        for cuts in ([], [1], [rate], [rate - 1, rate + 1], [size // 2]):
            assert computed(kind, message, 32, cpu, cuts) == expected(kind, message, 32), size


@pytest.mark.parametrize("cpu", PATHS)
@pytest.mark.parametrize("kind", ["shake-128", "shake-256"])
def test_lengths_of_shake(kind: str, cpu: str) -> None:
    rate = KINDS[kind][1]
    for length in (0, 1, 8, rate - 1, rate, rate + 1, 2 * rate - 1, 2 * rate, 2 * rate + 1, 65_536, 1_000_003):
        assert computed(kind, b"abc", length, cpu, []) == expected(kind, b"abc", length)


@settings(max_examples=1200, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    message=st.one_of(
        st.binary(max_size=400),
        st.builds(lambda seed, size: random.Random(seed).randbytes(size), st.integers(0, 99), st.integers(0, 9000)),
    ),
    length=st.integers(0, 500),
    cuts=st.lists(st.integers(0, 9000), max_size=6),
)
def test_any_message_in_any_pieces_on_every_path(kind: str, message: bytes, length: int, cuts: list[int]) -> None:
    right = expected(kind, message, length)
    for cpu in PATHS:
        assert computed(kind, message, length, cpu, cuts) == right


def test_a_digest_leaves_the_message_open() -> None:
    sha3 = Sha3("sha3-256", 32)
    sha3.update(b"a" * 200)
    assert sha3.digest() == sha3.digest() == hashlib.sha3_256(b"a" * 200).digest()
    sha3.update(b"b")
    assert sha3.digest() == hashlib.sha3_256(b"a" * 200 + b"b").digest()


def test_wrong_calls() -> None:
    with pytest.raises(ValueError, match="FIPS 202"):
        Sha3("sha3-257", 32)
    with pytest.raises(ValueError, match="another length"):
        Sha3("sha3-256", 31)
    with pytest.raises(ValueError, match="no CPU level 'mmx'"):
        Sha3("sha3-256", 32, "mmx")
    with pytest.raises(TypeError):
        Sha3("sha3-256", 32).update("text")  # type: ignore[arg-type]
    assert Sha3("shake-128", 0).digest() == b""


def test_many_objects_on_many_threads() -> None:
    def work(seed: int) -> bool:
        message = random.Random(seed).randbytes(300_000)
        return computed("sha3-384", message, 0, PATHS[-1], [100_000]) == expected("sha3-384", message, 0)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(32)))
