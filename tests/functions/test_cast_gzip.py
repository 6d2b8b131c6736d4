"""cast_gzip, judged by Python's gzip and by the system's."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acceleratorAPI.drivers.cpu import run_blocks
from acceleratorAPI.errors import ParameterError
from acceleratorAPI.functions.base import Outcome, check_parameters
from acceleratorAPI.functions.cast_gzip import DeflateKernel, Gzip, GzipParameters, MemberKernel
from acceleratorAPI.testing.function_contract import FunctionContract


class TestContract(FunctionContract):
    function = Gzip
    borders = (4096, 32 << 10, 64 << 10, 1 << 20)

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        assert gzip.decompress(got) == given
        assert outcome.specific["crc32"] == f"{zlib.crc32(given):08x}"


class TestContractSmallBlocksBestSpeedLevel(TestContract):
    process_values: ClassVar = {"level": 3, "block_size": 64 << 10}


class TestContractForSize(TestContract):
    process_values: ClassVar = {"level": 6, "block_size": 64 << 10}


class TestContractMembers(TestContract):
    process_values: ClassVar = {"form": "members", "block_size": 64 << 10}

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        super().check(given, got, outcome)
        assert b"".join(content for _, content in members(got)) == given


def members(packed: bytes) -> list[tuple[int, bytes]]:
    """The size that each member tells of itself, and its content, by zlib alone."""
    found = []
    while packed:
        header = struct.unpack("<2sBBIBBH2sHI", packed[:20])
        assert header[:-1] == (b"\x1f\x8b", 8, 4, 0, 0, 255, 8, b"IG", 4)
        size = header[-1]
        found.append((size, gzip.decompress(packed[:size])))
        packed = packed[size:]
    return found


def compressed(data: bytes, threads: int = 2, **values: Any) -> bytes:
    target = io.BytesIO()
    Gzip(threads).process(io.BytesIO(data), target, GzipParameters(**values))
    return target.getvalue()


@pytest.mark.parametrize("form", ["single", "members"])
@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize(
    "make",
    [
        lambda size: bytes(size),
        lambda size: random.Random(1).randbytes(size),
        lambda size: (Path(random.__file__).read_bytes() * (size // 1000))[:size],
    ],
    ids=["zeros", "noise", "text"],
)
def test_system_gzip_reads_it(form: str, level: int, make: Callable[[int], bytes], tmp_path: Path) -> None:
    program = shutil.which("gzip")
    assert program, "these tests need gzip"
    data = make(2_222_222)
    packed = tmp_path / "packed.gz"
    packed.write_bytes(compressed(data, level=level, form=form))
    subprocess.run([program, "-t", packed], check=True)
    assert subprocess.run([program, "-dc", packed], check=True, stdout=subprocess.PIPE).stdout == data
    assert subprocess.run([sys.executable, "-m", "gzip", "-d", packed], check=True).returncode == 0
    assert (tmp_path / "packed").read_bytes() == data


def test_one_member_with_a_header_that_holds_no_time() -> None:
    data = b"one member only " * 300_000
    packed = compressed(data)
    assert packed[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    decoder = zlib.decompressobj(31)
    assert decoder.decompress(packed) == data
    assert decoder.eof
    assert decoder.unused_data == b""
    assert struct.unpack("<II", packed[-8:]) == (zlib.crc32(data), len(data))


def test_members_stand_alone_and_tell_their_size() -> None:
    text = Path(random.__file__).read_bytes() * 9
    packed = compressed(text, form="members", block_size=100_000)
    contents = [content for _, content in members(packed)]
    assert contents == [text[at : at + 100_000] for at in range(0, len(text), 100_000)]
    assert sum(size for size, _ in members(packed)) == len(packed)
    assert [content for _, content in members(compressed(b"", form="members"))] == [b""]


def test_each_level_is_at_most_as_large_as_the_one_before() -> None:
    text = b"".join(path.read_bytes() for path in sorted(Path(random.__file__).parent.glob("*.py")))[:3_000_000]
    sizes = [len(compressed(text, level=level)) for level in range(10)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[6] < 1.02 * len(gzip.compress(text, 6))


def test_the_size_field_wraps_at_4_gib() -> None:
    kernel = DeflateKernel(1, 1 << 20)
    size_bytes = (1 << 32) + 5
    zeros_crc = zlib.crc32(bytes(1 << 20))
    for _ in range(1 << 12):
        kernel.collect((zeros_crc, 1 << 20))
    kernel.collect((zlib.crc32(b"12345"), 5))
    assert kernel.size_bytes == size_bytes
    assert struct.unpack("<I", kernel.tail()[-4:]) == (5,)


def test_blocks_refer_to_the_block_before() -> None:
    text = Path(random.__file__).read_bytes()[:4000]
    kernel = DeflateKernel(1, 4000)
    alone, _ = kernel.run(memoryview(text), 0)
    behind_itself, _ = kernel.run(memoryview(text + text), len(text))
    assert len(bytes(behind_itself)) < len(bytes(alone)) / 4


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"level": 10}, "level"),
        ({"form": "many"}, "form"),
        ({"level": -1}, "level"),
        ({"level": "fast"}, "level"),
        ({"block_size": 1000}, "block_size"),
        ({"levle": 1}, "did you mean 'level'"),
    ],
)
def test_wrong_parameters_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        check_parameters(GzipParameters, values, "cast_gzip")


@settings(max_examples=1000, deadline=None)
@given(
    parts=st.lists(st.tuples(st.binary(max_size=40), st.integers(1, 300)), max_size=12),
    block_size=st.sampled_from([1, 7, 100, 4096]),
    level=st.integers(0, 9),
    kind=st.sampled_from([DeflateKernel, MemberKernel]),
)
def test_any_data_in_any_blocks_comes_back(
    parts: list[tuple[bytes, int]], block_size: int, level: int, kind: type[DeflateKernel]
) -> None:
    data = b"".join(part * times for part, times in parts)[: 100 * block_size]
    target = io.BytesIO()
    run_blocks(kind(level, block_size), io.BytesIO(data), target, 2)
    assert gzip.decompress(target.getvalue()) == data
