"""silex_sha3, judged by hashlib; its folders, by tarfile and hashlib."""

from __future__ import annotations

import hashlib
import io
import os
import random
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acceleratorAPI.drivers.cpu import run_blocks
from acceleratorAPI.drivers.fold import NoTarget
from acceleratorAPI.errors import InputError, ParameterError
from acceleratorAPI.functions.base import Outcome, check_parameters
from acceleratorAPI.functions.silex_sha3 import FolderKernel, Sha3Parameters, SilexSha3
from acceleratorAPI.native._kernels import Sha3Folder, TarStreamError, cpu_of_machine
from acceleratorAPI.native.folder import FolderReader
from acceleratorAPI.testing.function_contract import FunctionContract

LEVELS = ["portable", "avx2", "avx512"]
PATHS = LEVELS[: LEVELS.index(cpu_of_machine()) + 1]


def digest(kind: str, data: bytes, length: int) -> str:
    if kind.startswith("shake"):
        return (hashlib.shake_128(data) if kind == "shake-128" else hashlib.shake_256(data)).hexdigest(length)
    return hashlib.new(kind.replace("-", "_"), data).hexdigest()


class TestContract(FunctionContract):
    function = SilexSha3
    borders = (136, 4096, 1 << 20)

    def _right_digest(self, data: bytes) -> str:
        values = check_parameters(Sha3Parameters, self.process_values, "silex_sha3")
        assert isinstance(values, Sha3Parameters)
        return digest(values.type, data, values.digest_bytes)

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        assert got == b""
        assert outcome.specific["digest"] == self._right_digest(given)

    def check_folder(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        assert got == b""
        files, others = contents(given)
        assert outcome.specific["digests"] == {path: self._right_digest(data) for path, data in files.items()}
        assert (outcome.specific["files"], outcome.specific["passed-over"]) == (len(files), others)


class TestContractShake(TestContract):
    process_values: ClassVar = {"type": "SHAKE128", "length": 1000}


def contents(stream: bytes) -> tuple[dict[str, bytes], int]:
    """The files of a tar stream and how many members are none, by ``tarfile``."""
    files: dict[str, bytes] = {}
    others = 0
    with tarfile.open(fileobj=io.BytesIO(stream), mode="r:") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() or member.islnk() else None
            if file is None:
                others += 1
            else:
                files[member.name] = file.read()
    return files, others


def packed(files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def hashed(
    stream: bytes, kind: str = "sha3-256", length: int = 32, block_size: int | None = None, **options: Any
) -> dict[str, str]:
    folder = Sha3Folder(kind, length, options.get("cpu"))
    kernel = FolderKernel(folder, options.get("threads", 2), block_size)
    run_blocks(kernel, io.BytesIO(stream), NoTarget(), options.get("threads", 2))
    folder.finish()
    assert folder.files == len(kernel.digests)
    return kernel.digests


def process_folder(stream: bytes, **values: Any) -> Outcome:
    class Stream(io.BytesIO):
        def normalise(self) -> None:
            raise AssertionError("digests do not depend on it")

    return SilexSha3(2).process_folder(Stream(stream), None, Sha3Parameters(**values))


@pytest.mark.parametrize("kind", ["sha3-224", "sha3-256", "sha3-384", "sha3-512", "shake-128", "shake-256"])
def test_types_in_any_spelling(kind: str) -> None:
    spellings = {kind, kind.upper(), kind.replace("-", "_"), f" {kind} "}
    if kind.startswith("shake"):
        spellings |= {kind.replace("-", ""), kind.upper().replace("-", "")}
    usual = {"shake-128": 32, "shake-256": 64}.get(kind, 0)
    for spelling in spellings:
        parameters = check_parameters(Sha3Parameters, {"type": spelling}, "silex_sha3")
        assert isinstance(parameters, Sha3Parameters)
        outcome = SilexSha3(2).process(io.BytesIO(b"abc"), None, parameters)
        assert outcome.specific == {"type": kind, "digest": digest(kind, b"abc", usual)}


def test_the_usual_type_and_lengths_of_shake() -> None:
    assert Sha3Parameters().type == "sha3-256"
    for length in (0, 1, 167, 168, 169, 65_536):
        outcome = SilexSha3(1).process(io.BytesIO(b"x"), None, Sha3Parameters(type="shake-128", length=length))
        assert outcome.specific["digest"] == hashlib.shake_128(b"x").hexdigest(length)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"type": "sha3-257"}, "'type' = 'sha3-257'.*'sha3-224'"),
        ({"type": "sha3-512", "length": 64}, "'length' = 64.*a digest of sha3-512 has 64 bytes; leave length out"),
        ({"length": 32}, "'length' = 32.*sha3-256"),
        ({"type": "shake-128", "length": -1}, "length"),
        ({"type": "shake-128", "length": 65_537}, "65536"),
        ({"type": 256}, "type"),
        ({"lenght": 3}, "did you mean 'length'"),
    ],
)
def test_wrong_parameters_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        check_parameters(Sha3Parameters, values, "silex_sha3")


names = st.text(st.characters(codec="utf-8", exclude_characters="\x00/"), min_size=1, max_size=120).filter(
    lambda name: name not in {".", ".."}
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
sizes = st.one_of(
    st.integers(0, 700), st.integers(0, 20_000), st.sampled_from([0, 135, 136, 137, 271, 272, 273, 511, 512, 513, 1024])
)


@settings(max_examples=400, deadline=None)
@given(
    files=st.dictionaries(paths, sizes, max_size=25),
    kind=st.sampled_from(["sha3-224", "sha3-256", "sha3-384", "sha3-512", "shake-128", "shake-256"]),
    block_size=st.sampled_from([512, 513, 700, 4096, 30_000, 1 << 20]),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_any_folder_in_any_blocks_on_every_path(
    files: dict[str, int], kind: str, block_size: int, form: int, threads: int, seed: int
) -> None:
    chooser = random.Random(seed)
    given = {path: chooser.randbytes(size) for path, size in files.items()}
    stream = packed(given, form)
    length = {"sha3-224": 28, "sha3-256": 32, "sha3-384": 48, "sha3-512": 64}.get(kind, seed)
    right = {path: digest(kind, data, length) for path, data in given.items()}
    for cpu in PATHS:
        assert hashed(stream, kind, length, block_size, threads=threads, cpu=cpu) == right


def test_more_files_than_lanes_of_very_different_sizes() -> None:
    chooser = random.Random(2)
    given = {f"f/{i}": chooser.randbytes(chooser.choice([0, 5, 900, 3000, 70_000, 400_000])) for i in range(400)}
    stream = packed(given)
    right = {path: hashlib.sha3_256(data).hexdigest() for path, data in given.items()}
    for threads in (1, 2, 4):
        assert hashed(stream, threads=threads) == right


def test_a_file_larger_than_all_the_blocks_in_flight_among_small_ones() -> None:
    chooser = random.Random(3)
    given = {f"f/{i}": chooser.randbytes(size) for i, size in enumerate([10, 5_000_000, 0, 700_000, 3, 9_000_001, 77])}
    right = {path: hashlib.sha3_256(data).hexdigest() for path, data in given.items()}
    assert hashed(packed(given), block_size=200_000, threads=3) == right


def test_a_real_folder_with_links_and_hard_links(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "empty").mkdir(parents=True)
    (top / "sub").mkdir()
    (top / "a").write_bytes(b"a" * 1000)
    (top / "sub" / "b").write_bytes(b"")
    os.link(top / "a", top / "sub" / "hard")
    (top / "soft").symlink_to("a")
    os.mkfifo(top / "pipe")
    with FolderReader(top) as source:
        outcome = SilexSha3(2).process_folder(source, None, Sha3Parameters())
    right = {"top/a": b"a" * 1000, "top/sub/b": b"", "top/sub/hard": b"a" * 1000}
    digests = {path: hashlib.sha3_256(data).hexdigest() for path, data in right.items()}
    assert outcome.specific == {"type": "sha3-256", "files": 3, "passed-over": 5, "digests": digests}


def test_old_formats_long_names_and_large_numbers() -> None:
    long_name = "d" * 90 + "/" + "n" * 90
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert list(hashed(packed({long_name: b"x", "y": b"z"}, form))) == [long_name, "y"]
    very_long = "/".join(["p" * 99] * 30)
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert list(hashed(packed({very_long: b"x"}, form))) == [very_long]
    stream = bytearray(packed({"v7": b"12345"}, tarfile.USTAR_FORMAT))
    stream[257:265] = bytes(8)  # no magic
    stream[124:136] = b"\x80" + (5).to_bytes(11, "big")  # base 256
    assert hashed(signed(stream)) == {"v7": hashlib.sha3_256(b"12345").hexdigest()}


def test_names_that_are_no_text_are_shown_with_escapes() -> None:
    stream = signed(bytearray(packed({"naXve": b""})).replace(b"naXve", b"na\xefve"))
    assert list(hashed(stream)) == [r"na\xefve"]


def signed(stream: bytearray) -> bytes:
    """With the checksum of its first header made right."""
    stream[148:156] = b" " * 8
    stream[148:156] = b"%06o\0 " % sum(stream[:512])
    return bytes(stream)


def header(kind: bytes = b"0", size: bytes = b"00000000000\0", name: bytes = b"name") -> bytes:
    block = bytearray(512)
    block[: len(name)] = name
    block[124:136] = size
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    return signed(block)


def extension(kind: bytes, text: bytes) -> bytes:
    return header(kind, b"%011o\0" % len(text)) + text + bytes(-len(text) % 512)


END = bytes(1024)


@pytest.mark.parametrize(
    ("stream", "offset", "said"),
    [
        (b"", 0, "ends before the end"),
        (bytes(100), 100, "ends before the end"),
        (header(), 512, "ends before the end"),
        (header(size=b"00000001000\0") + bytes(511), 1023, "ends before the end"),
        (b"\x01" * 512, 0, "checksum"),
        (header() + b"no header" * 100, 512, "checksum"),
        (header(size=b"0000000000x\0") + END, 0, "size"),
        (header(size=b"\xff" * 12) + END, 0, "size"),
        (header(size=b"\x80" + b"\xff" * 11) + END, 0, "size"),
        (header(kind=b"S") + END, 0, "sparse"),
        (header(kind=b"M") + END, 0, "unknown type, byte 77"),
        (header(name=b"") + END, 0, "no name"),
        (header(kind=b"x", size=b"00010000000\0") + END, 0, "larger than 1048576"),
        (extension(b"x", b"no record") + header() + END, 0, "malformed record"),
        (extension(b"x", b"99 path=a\n") + header() + END, 0, "malformed record"),
        (extension(b"x", b"0 path=a\n") + header() + END, 0, "malformed record"),
        (extension(b"x", b"10 path:aa\n"[:10]) + header() + END, 0, "malformed record"),
        (extension(b"x", b"0000000000000000000000000010 path=a\n") + header() + END, 0, "malformed record"),
        (extension(b"x", b"11 path=a\0\n") + header() + END, 0, "zero byte"),
        (extension(b"x", b"11 size=1x\n") + header() + END, 0, "size"),
        (extension(b"x", b"22 GNU.sparse.major=1\n") + header() + END, 0, "sparse"),
        (extension(b"g", b"10 path=a\n") + header() + END, 0, "global pax header"),
        (extension(b"x", b"10 path=a\n") + END, 1024, "ends after an extension"),
        (extension(b"x", b"5007 path=" + b"p" * 4996 + b"\n") + header() + END, 5632, "longer than 4096"),
        (header() + bytes(512) + header() + END, 512, "bytes follow the end"),
    ],
)
def test_a_malformed_stream_is_refused_with_its_offset(stream: bytes, offset: int, said: str) -> None:
    for block_size in (512, 1000, None):
        with pytest.raises(TarStreamError, match=said) as caught:
            hashed(stream, block_size=block_size)
        assert caught.value.args[0] == offset
    with pytest.raises(InputError, match=f"silex_sha3: the folder's tar stream, byte {offset}: .*{said}"):
        process_folder(stream)


def test_names_twice_and_links_to_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="'name' twice"):
        process_folder(header() + header() + END)
    link = bytearray(header(kind=b"1"))
    link[157:163] = b"target"
    with pytest.raises(InputError, match="hard link to 'target', which did not come before"):
        process_folder(signed(link) + END)


def test_too_many_files_are_refused() -> None:
    most = Sha3Folder.most_files
    stream = b"".join(header(name=b"%d" % i) for i in range(most))
    assert process_folder(stream + END).specific["files"] == most
    with pytest.raises(InputError, match="more than 65536 files; give the folder in parts"):
        process_folder(stream + header(name=b"more") + END)


def test_too_large_an_answer_is_refused_before_it_is_made() -> None:
    stream = b"".join(header(name=b"%d" % i) for i in range(300))
    assert process_folder(stream + END, type="shake-128", length=50_000).specific["files"] == 300
    with pytest.raises(InputError, match="more than 32 MiB"):
        process_folder(stream + END, type="shake-128", length=65_536)


def test_an_error_of_the_source_in_the_middle_of_a_long_file_ends_the_job() -> None:
    class Broken(io.BytesIO):
        def normalise(self) -> None: ...

        def readinto(self, buffer: Any, /) -> int:
            if self.tell() > 20 << 20:
                raise OSError("the disk is gone")
            return super().readinto(buffer)

    source = Broken(header(size=b"00177777777\0") + bytes(30 << 20))
    with pytest.raises(OSError, match="the disk is gone"):
        SilexSha3(2).process_folder(source, None, Sha3Parameters())
