from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib

from acceleratorAPI.drivers.base import Source
from acceleratorAPI.errors import CorruptInputError
from acceleratorAPI.functions import gzip_reader
from acceleratorAPI.functions.base import Function, NoParameters, Outcome
from acceleratorAPI.functions.cast_gunzip import Gunzip, _IndexedRun
from acceleratorAPI.functions.cast_gzip import Gzip, GzipParameters
from acceleratorAPI.functions.gzip_reader import PackedInput
from acceleratorAPI.testing.function_contract import FunctionContract

TEXT = Path(random.__file__).read_bytes()
FTEXT, FHCRC, FEXTRA, FNAME, FCOMMENT = 1, 2, 4, 8, 16


def member(
    content: bytes,
    *,
    name: bytes | None = None,
    comment: bytes | None = None,
    extra: bytes | None = None,
    checked: bool = False,
    level: int = 6,
) -> bytes:
    """A gzip member by RFC 1952, made with zlib alone."""
    flags = FHCRC * checked
    flags |= FEXTRA * (extra is not None) | FNAME * (name is not None) | FCOMMENT * (comment is not None)
    header = struct.pack("<2sBBIBB", b"\x1f\x8b", 8, flags, 1234567890, 0, 3)
    if extra is not None:
        header += struct.pack("<H", len(extra)) + extra
    for text in (name, comment):
        header += b"" if text is None else text + b"\0"
    if checked:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15)
    data = deflate.compress(content) + deflate.flush()
    return header + data + struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)


def indexed(content: bytes, level: int = 6) -> bytes:
    """A member with the extra field IG."""
    size = len(member(content, extra=bytes(8), level=level))
    return member(content, extra=b"IG" + struct.pack("<HI", 4, size), level=level)


def blocked(content: bytes) -> bytes:
    """A member as BGZF has them."""
    size = len(member(content, extra=bytes(6)))
    return member(content, extra=b"BC" + struct.pack("<HH", 2, size - 1))


def unpacked(packed: bytes, threads: int = 2) -> tuple[bytes, dict[str, Any]]:
    target = io.BytesIO()
    outcome = Gunzip(threads).process(io.BytesIO(packed), target, NoParameters())
    assert outcome.measurement.bytes_in == len(packed)
    return target.getvalue(), dict(outcome.specific)


def refused(packed: bytes) -> str:
    with pytest.raises(CorruptInputError) as caught:
        unpacked(packed)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Contract(FunctionContract):
    """The contract of a function whose input must be a gzip file."""

    function = Gunzip

    def pack(self, content: bytes) -> bytes:
        raise NotImplementedError

    def sample(self, size_bytes: int) -> bytes:
        return self.pack(super().sample(size_bytes))

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        assert gzip.decompress(given) == got
        assert outcome.specific["members"] >= 1

    def test_memory_is_bounded(self, configured: Function[Any, Any]) -> None:
        packed = self.pack(random.Random(1).randbytes(3 << 20))
        source = Repeated(packed, 64)
        outcome = self.run(configured, source, Discard())
        assert outcome.measurement.bytes_out == 64 * (3 << 20)
        assert source.grown_bytes < 64 << 20


class TestContractOneMember(Contract):
    # Around what the decoder is given and gives at a time.
    borders = (4096, 64 << 10, 256 << 10, 1 << 20)

    def pack(self, content: bytes) -> bytes:
        return gzip.compress(content, 6, mtime=0)


class TestContractStored(TestContractOneMember):
    def pack(self, content: bytes) -> bytes:
        return gzip.compress(content, 0, mtime=0)


class TestContractIndexed(Contract):
    borders = (4096, 64 << 10, 1 << 20, 2 << 20)

    def pack(self, content: bytes) -> bytes:
        target = io.BytesIO()
        Gzip(1).process(io.BytesIO(content), target, GzipParameters(form="members", block_size=64 << 10))
        return target.getvalue()


class TestContractIndexedLargerThanARun(Contract):
    borders: ClassVar = (2 << 20, (2 << 20) + 1)

    def pack(self, content: bytes) -> bytes:
        return indexed(content, 0)


class Repeated:
    """A file over and over, as one input; it watches the memory of the process."""

    def __init__(self, packed: bytes, times: int) -> None:
        self._pieces = self._all(packed, times)
        self._piece = b""
        self._first_bytes = self._rss()
        self.grown_bytes = 0

    @staticmethod
    def _all(packed: bytes, times: int) -> Iterator[bytes]:
        for _ in range(times):
            for at in range(0, len(packed), 50_000):
                yield packed[at : at + 50_000]

    @staticmethod
    def _rss() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def readinto(self, buffer: memoryview, /) -> int:
        self.grown_bytes = max(self.grown_bytes, self._rss() - self._first_bytes)
        self._piece = self._piece or next(self._pieces, b"")
        count = min(len(self._piece), len(buffer))
        buffer[:count], self._piece = self._piece[:count], self._piece[count:]
        return count


class Discard:
    def write(self, data: memoryview, /) -> int:
        return len(data)


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("name", [None, b"", b"name.txt", b"n" * 200_000])
@pytest.mark.parametrize("comment", [None, b"a comment \xe9"])
@pytest.mark.parametrize("extra", [None, b"", b"XY\x02\0ab", b"IG\x04\0", b"BC", b"BC\xff\xffxx", bytes(65_535)])
def test_every_kind_of_header(checked: bool, name: bytes | None, comment: bytes | None, extra: bytes | None) -> None:
    packed = member(TEXT, name=name, comment=comment, extra=extra, checked=checked)
    assert gzip.decompress(packed) == TEXT
    assert unpacked(packed)[0] == TEXT
    assert unpacked(packed + packed)[0] == TEXT + TEXT


def test_header_of_a_name_without_end_is_bounded_and_refused() -> None:
    assert "too early, in a header" in refused(member(b"x", name=b"n" * 3_000_000)[:2_000_000])


@pytest.mark.parametrize("flag", [0x20, 0x40, 0x80])
def test_reserved_flags_are_refused(flag: int) -> None:
    packed = bytearray(gzip.compress(b"content"))
    packed[3] |= flag
    said = refused(bytes(packed))
    assert "reserved flags" in said
    assert "byte 10 " in said


def test_method_and_header_checksum() -> None:
    packed = bytearray(member(b"content", name=b"n", checked=True))
    packed[2] = 7
    assert "compression method 7" in refused(bytes(packed))
    packed = bytearray(member(b"content", name=b"n", checked=True))
    packed[10] ^= 1
    assert "the header's CRC is" in refused(bytes(packed))


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        (b"", "it is empty"),
        (b"\x1f", "it begins with 1f"),
        (b"PK\3\4 a zip file", "it begins with 50 4b"),
        (bytes(100), "it begins with 00 00"),
    ],
)
def test_other_formats_are_named(packed: bytes, said: str) -> None:
    assert said in refused(packed)


def test_checksum_and_size_are_checked_and_located() -> None:
    first, second = gzip.compress(b"first" * 99), bytearray(gzip.compress(TEXT))
    second[-5] ^= 1
    said = refused(first + bytes(second))
    assert "CRC-32" in said
    assert f"at byte {len(first) + len(second)} of the input, after {495 + len(TEXT)} bytes of output" in said
    assert f"begins at byte {len(first)})" in said
    second[-5] ^= 1
    second[-1] ^= 1
    assert f"the content has {len(TEXT)} bytes" in refused(first + bytes(second))


@pytest.mark.parametrize(
    "packed",
    [
        member(TEXT[:700], name=b"a name", comment=b"a comment", extra=b"XY\x01\0a", checked=True),
        member(TEXT[:300], level=0) + indexed(TEXT[300:600]),
        indexed(TEXT[:300]) + blocked(TEXT[300:600]),
    ],
    ids=["header", "two", "indexed"],
)
def test_every_truncation_is_an_error_that_names_the_place(packed: bytes) -> None:
    whole = unpacked(packed)[0]
    assert whole == TEXT[: len(whole)]
    for size in range(len(packed)):
        target = io.BytesIO()
        try:
            outcome = Gunzip(2).process(io.BytesIO(packed[:size]), target, NoParameters())
        except CorruptInputError as error:
            said = str(error)
        else:
            # What is left is whole members, and at most one byte of the next, which is reported.
            assert gzip.decompress(packed[: size - outcome.specific.get("trailing-bytes", 0)]) == target.getvalue()
            assert outcome.specific.get("trailing-bytes", 0) <= 1
            continue
        assert size < 2 or f"byte {size} of the input, after {len(target.getvalue())} bytes of output" in said


@pytest.mark.parametrize(
    "packed",
    [
        member(TEXT[:300], name=b"name", comment=b"text", extra=b"XY\x01\0a", checked=True),
        member(TEXT[:300]),
        indexed(TEXT[:300]) + indexed(TEXT[300:400], 0) + blocked(TEXT[400:500]),
    ],
    ids=["checked header", "plain", "indexed"],
)
def test_every_corrupt_byte_is_detected_or_harmless(packed: bytes) -> None:
    whole = unpacked(packed)[0]
    harmless = detected = 0
    for at in range(len(packed)):
        for change in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            damaged = bytearray(packed)
            damaged[at] ^= change
            try:
                got, specific = unpacked(bytes(damaged))
            except CorruptInputError:
                detected += 1
            else:
                assert got == whole or "warning" in specific, f"byte {at} changed by {change}"
                harmless += 1
    assert detected > 5 * harmless


def reference(packed: bytes) -> tuple[bytes, bytes] | None:
    """The content of the members, and what follows them, by zlib; ``None`` for an error."""
    content = b""
    while packed[:2] == b"\x1f\x8b":
        decoder = zlib.decompressobj(31)
        try:
            content += decoder.decompress(packed)
        except zlib.error:
            return None
        if not decoder.eof:
            return None
        packed = decoder.unused_data
    return content, packed


PIECES = st.lists(st.tuples(st.binary(max_size=40), st.integers(1, 300)), max_size=6)
CONTENT = PIECES.map(lambda parts: b"".join(part * times for part, times in parts))
MEMBER = st.one_of(
    st.builds(
        member,
        CONTENT,
        name=st.none() | st.binary(max_size=9).map(lambda name: name.replace(b"\0", b"")),
        comment=st.none() | st.just(b"comment"),
        extra=st.none() | st.binary(max_size=12),
        checked=st.booleans(),
        level=st.integers(0, 9),
    ),
    st.builds(indexed, CONTENT, st.integers(0, 9)),
    st.builds(blocked, CONTENT),
    st.builds(gzip.compress, CONTENT, st.integers(0, 9)),
)


@settings(max_examples=1000, deadline=None)
@given(
    members=st.lists(MEMBER, min_size=1, max_size=4),
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 255)), max_size=2),
    end=st.none() | st.integers(1, 5000),
    behind=st.just(b"") | st.binary(max_size=20) | st.integers(1, 600).map(bytes),
)
def test_any_input_gives_what_zlib_gives(
    members: list[bytes], changes: list[tuple[int, int]], end: int | None, behind: bytes
) -> None:
    packed = bytearray(b"".join(members)[:end] + behind)
    for at, change in changes:
        packed[at % len(packed)] ^= change
    expected = reference(bytes(packed)) if packed[:2] == b"\x1f\x8b" else None
    if expected is None:
        refused(bytes(packed))
        return
    content, rest = expected
    got, specific = unpacked(bytes(packed))
    assert got == content
    padding, trailing = (rest, b"") if not rest.strip(b"\0") else (b"", rest)
    assert specific.get("padding-bytes", 0) == len(padding)
    assert specific.get("trailing-bytes", 0) == len(trailing)
    if trailing:
        assert specific["trailing-offset"] == len(packed) - len(trailing)


@pytest.mark.parametrize(
    ("behind", "specific"),
    [
        (b"", {}),
        (bytes(512), {"padding-bytes": 512}),
        (b"garbage", {"trailing-bytes": 7}),
        (bytes(100_000) + b"x", {"trailing-bytes": 100_001}),
        (bytes(3) + gzip.compress(b"behind zeros", mtime=0), {}),
    ],
)
def test_what_follows_is_treated_as_by_gnu_gzip(behind: bytes, specific: dict[str, int], tmp_path: Path) -> None:
    program = shutil.which("gzip")
    assert program, "these tests need gzip"
    packed = gzip.compress(TEXT) + gzip.compress(b"again") + behind
    done = subprocess.run([program, "-dc"], input=packed, capture_output=True, check=False)
    got, answer = unpacked(packed)
    assert got == done.stdout
    # GNU gzip's exit code 2 is a warning: trailing garbage ignored.
    assert ("warning" in answer) == (done.returncode == 2)
    assert specific.items() <= answer.items()
    if "warning" in answer:
        assert answer["trailing-offset"] == len(packed) - len(behind)


@pytest.mark.parametrize("level", [1, 6, 9])
def test_files_of_the_system_gzip(level: int, tmp_path: Path) -> None:
    program = shutil.which("gzip")
    assert program, "these tests need gzip"
    content = random.Random(level).randbytes(400_000) + TEXT * 40
    file = tmp_path / "a file.txt"
    file.write_bytes(content)
    subprocess.run([program, f"-{level}", file], check=True)
    assert unpacked((tmp_path / "a file.txt.gz").read_bytes())[0] == content


@pytest.mark.parametrize("member_bytes", [1, 1000, 65_280])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_blocked_files_of_bioinformatics(member_bytes: int, threads: int) -> None:
    content = (TEXT * 30)[: 500 * member_bytes]
    blocks = [blocked(content[at : at + member_bytes]) for at in range(0, len(content), member_bytes)]
    got, specific = unpacked(b"".join(blocks) + blocked(b""), threads)
    assert got == content
    assert specific["members"] == len(blocks) + 1


def lying(content: bytes, claimed: int) -> bytes:
    return member(content, extra=b"IG" + struct.pack("<HI", 4, claimed & 0xFFFFFFFF))


@pytest.mark.parametrize("claimed", [0, 1, 17, 18, 30, 100, 1 << 20, 1 << 31, 0xFFFFFFFF])
def test_an_index_that_lies_is_not_believed(claimed: int) -> None:
    assert unpacked(lying(TEXT, claimed))[0] == TEXT
    assert unpacked(lying(TEXT, claimed) + indexed(b"next"))[0] == TEXT + b"next"


def test_an_index_that_leads_to_another_member_is_refused() -> None:
    first, second = indexed(b"first"), indexed(b"second")
    said = refused(lying(b"first", len(first) + len(second)) + second + indexed(b"third"))
    assert "its last bytes say" in said or "its header says that it ends at byte" in said


@pytest.mark.parametrize("hidden", [indexed(b"first"), b"garbage " + indexed(b"first")[-8:]])
def test_an_index_that_hides_what_ends_alike_is_refused(hidden: bytes) -> None:
    size = len(lying(b"first", 0)) + len(hidden)
    assert "its header says that it ends at byte" in refused(lying(b"first", size) + hidden + indexed(b"third"))


def test_a_size_that_lies_costs_no_memory() -> None:
    """Each member claims one byte and holds 64 MiB."""
    bomb = bytearray(indexed(bytes(64 << 20), 9))
    bomb[-4:] = struct.pack("<I", 1)
    source = Repeated(bytes(bomb), 8)
    with pytest.raises(CorruptInputError, match="there are more"):
        Gunzip(2).process(source, Discard(), NoParameters())
    assert source.grown_bytes < 32 << 20


def test_many_empty_members_are_not_gathered_without_end() -> None:
    run = _IndexedRun.at(PackedInput(io.BytesIO(blocked(b"") * 100_000)), 0)
    assert run is not None
    assert sum(size for size, _ in run.sizes) <= 1 << 20
    assert run.unpack() == b""


def test_a_short_member_does_not_cost_what_stands_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder copies what it is given and does not need."""
    fed_bytes = 0

    inflater = gzip_reader.igzip_lib.IgzipDecompressor

    class Counted:
        def __init__(self, kind: int) -> None:
            self._inflater = inflater(kind)

        def decompress(self, data: Any, max_length: int) -> bytes:
            nonlocal fed_bytes
            fed_bytes += len(data)
            return self._inflater.decompress(data, max_length)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inflater, name)

    monkeypatch.setattr(gzip_reader.igzip_lib, "IgzipDecompressor", Counted)
    claims = member(b"", extra=b"IG\4\0" + struct.pack("<I", (2 << 20) + 1))
    for packed in (member(b"") * 20_000, claims * 20_000, blocked(b"") * 20_000):
        fed_bytes = 0
        Gunzip(1).process(io.BytesIO(packed), Discard(), NoParameters())
        assert fed_bytes <= 20_000 * 4096


@pytest.mark.parametrize("form", ["single", "members"])
def test_a_bomb_of_1_gib_takes_little_memory(form: str) -> None:
    segment = indexed(bytes(1 << 20), 9) if form == "members" else gzip.compress(bytes(256 << 20), 9)
    source = Repeated(segment, (1 << 30) // (1 << 20 if form == "members" else 256 << 20))
    outcome = Gunzip(2).process(source, Discard(), NoParameters())
    assert outcome.measurement.bytes_out == 1 << 30
    assert source.grown_bytes < 64 << 20


def test_the_size_field_wraps_at_4_gib() -> None:
    """One member of 2^32 + 5 bytes; about 4 seconds."""
    zeros = bytes(1 << 20)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    segment = deflate.compress(zeros) + deflate.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = segment * (1 << 12) + last.compress(b"12345") + last.flush()
    crc32, size = zlib.crc32(zeros), 1 << 20
    while size < 1 << 32:
        crc32, size = isal_zlib.crc32_combine(crc32, crc32, size), 2 * size
    packed = gzip.compress(b"")[:10] + data + struct.pack("<II", zlib.crc32(b"12345", crc32), 5)
    outcome = Gunzip(2).process(io.BytesIO(packed), Discard(), NoParameters())
    assert outcome.measurement.bytes_out == (1 << 32) + 5


def test_output_begins_before_the_input_ends() -> None:
    written = 0

    class Watched:
        """Gives its second half only when output of the first has arrived."""

        def __init__(self) -> None:
            self._left = [gzip.compress(random.Random(1).randbytes(3_000_000)), gzip.compress(b"the rest")]

        def readinto(self, buffer: memoryview, /) -> int:
            if not self._left:
                return 0
            count = min(len(buffer), len(self._left[0]))
            buffer[:count] = self._left[0][:count]
            self._left[0] = self._left[0][count:]
            if not self._left[0]:
                del self._left[0]
            seen.append(written)
            return count

    class Counted:
        def write(self, data: memoryview, /) -> int:
            nonlocal written
            written += len(data)
            return len(data)

    seen: list[int] = []
    source: Source = Watched()
    Gunzip(2).process(source, Counted(), NoParameters())
    assert seen[-1] > 0
