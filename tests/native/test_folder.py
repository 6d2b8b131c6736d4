"""Folders as tar streams, judged by Python's tarfile and by GNU tar."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acceleratorAPI.errors import CorruptInputError, FileAccessError
from acceleratorAPI.native._kernels import FolderPacker, TarEditor, TarError
from acceleratorAPI.native.folder import FolderReader, TarReader

GNU_TAR = shutil.which("tar")
INLINE = 64 << 10  # files beyond that go another way through the packer
BATCH = 32

NAMES = st.one_of(
    st.text(alphabet="ab-./_0", min_size=1, max_size=6),
    st.text(min_size=1, max_size=20),
    st.sampled_from(["x" * 99, "x" * 100, "x" * 101, "y" * 155, "y" * 200, "é" * 60, "z" * 250]),
    st.binary(min_size=1, max_size=12).map(os.fsdecode),
).filter(lambda name: name not in (".", "..") and not set(name) & {"/", "\0"} and len(os.fsencode(name)) < 256)
SIZES = st.one_of(
    st.sampled_from([0, 1, 511, 512, 513, INLINE - 1, INLINE, INLINE + 1, INLINE + 512]), st.integers(0, 3000)
)
FILES = st.tuples(st.just("file"), SIZES, st.sampled_from([0o644, 0o755, 0o600, 0o4711]))
LINKS = st.tuples(st.just("link"), st.one_of(NAMES, st.just("t" * 100), st.just("t" * 101), st.just("é/" * 80)))
HARD = st.tuples(st.just("hard"), st.integers(0, 50))
FIFOS = st.tuples(st.just("fifo"))
TREES = st.recursive(
    st.dictionaries(NAMES, st.one_of(FILES, LINKS, HARD, FIFOS), max_size=6),
    lambda children: st.dictionaries(NAMES, st.one_of(FILES, LINKS, HARD, children), max_size=5),
    max_leaves=12,
)


def build(folder: Path, tree: dict[str, Any], files: list[Path]) -> None:
    """Make the tree; ``files`` collects what a hard link may repeat."""
    folder.mkdir()
    for name, what in tree.items():
        path = folder / name
        if isinstance(what, dict):
            build(path, what, files)
        elif what[0] == "file":
            path.write_bytes(random.Random(what[1]).randbytes(what[1]))
            path.chmod(what[2])
            os.utime(path, ns=(0, what[1] * 123_456_789_012))
            files.append(path)
        elif what[0] == "hard" and files:
            os.link(files[what[1] % len(files)], path)
        elif what[0] == "link":
            path.symlink_to(what[1])
        elif what[0] == "fifo":
            os.mkfifo(path, 0o640)
    os.utime(folder, (1, 1_500_000_000))


def packed(folder: Path, *, normal: bool = False, piece: int = 1 << 16) -> bytes:
    with FolderReader(folder) as reader:
        if normal:
            reader.normalise()
        buffer = bytearray(piece)
        return b"".join(bytes(buffer[:count]) for count in iter(lambda: reader.readinto(buffer), 0))


def entries(folder: Path) -> list[Path]:
    found = [folder]
    for top, folders, files in os.walk(folder):
        found += [Path(top) / name for name in folders + files]
    return found


def member_name(path: Path, folder: Path) -> str:
    name = os.path.relpath(path, folder.parent)
    return name + "/" if path.is_dir() and not path.is_symlink() else name


def check_with_tarfile(archive: bytes, folder: Path) -> None:
    """Each entry once, in order, as it lies on the disk."""
    paths = sorted(entries(folder), key=lambda path: os.fsencode(member_name(path, folder)))
    first_of: dict[tuple[int, int], str] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), errorlevel=2) as opened:
        members = opened.getmembers()
        assert [member.name for member in members] == [member_name(path, folder).rstrip("/") for path in paths]
        for member, path in zip(members, paths, strict=True):
            status = path.lstat()
            assert (member.uid, member.gid) == (status.st_uid, status.st_gid)
            assert member.mtime == int(status.st_mtime // 1)
            assert member.mode == stat.S_IMODE(status.st_mode)
            if path.is_symlink():
                assert member.issym()
                assert member.linkname == os.readlink(path)
            elif path.is_dir():
                assert member.isdir()
            elif not path.is_file():
                assert member.isfifo()
            elif status.st_nlink > 1 and (status.st_dev, status.st_ino) in first_of:
                assert member.islnk()
                assert member.linkname == first_of[status.st_dev, status.st_ino]
            else:
                first_of[status.st_dev, status.st_ino] = member.name
                assert member.isreg()
                assert opened.extractfile(member).read() == path.read_bytes()  # type: ignore[union-attr]


def check_with_gnu_tar(archive: bytes, folder: Path, out: Path) -> None:
    """What GNU tar unpacks is the folder."""
    assert GNU_TAR, "these tests need GNU tar"
    out.mkdir()
    result = subprocess.run([GNU_TAR, "-xpf", "-", "-C", out], input=archive, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    unpacked = out / folder.name
    assert sorted(os.path.relpath(path, folder) for path in entries(folder)) == sorted(
        os.path.relpath(path, unpacked) for path in entries(unpacked)
    )
    for path in entries(folder):
        twin = unpacked / os.path.relpath(path, folder)
        ours, theirs = path.lstat(), twin.lstat()
        assert (ours.st_mode, ours.st_nlink, ours.st_uid) == (theirs.st_mode, theirs.st_nlink, theirs.st_uid)
        if path.is_symlink():
            assert os.readlink(path) == os.readlink(twin)
        elif path.is_file():
            assert path.read_bytes() == twin.read_bytes()
            assert int(ours.st_mtime) == int(theirs.st_mtime)


@settings(max_examples=550, deadline=None)
@given(tree=TREES, piece=st.sampled_from([1000, 512, 70_000, 1 << 20]))
def test_tarfile_reads_any_tree(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any], piece: int) -> None:
    work = tmp_path_factory.mktemp("tree")
    try:
        build(work / "top", tree, [])
        archive = packed(work / "top", piece=piece)
        check_with_tarfile(archive, work / "top")
        assert archive.endswith(bytes(1024))
        assert read_all(TarReader(io.BytesIO(archive)), piece) == archive
    finally:
        shutil.rmtree(work)


@settings(max_examples=100, deadline=None)
@given(tree=TREES)
def test_gnu_tar_reads_any_tree(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]) -> None:
    work = tmp_path_factory.mktemp("tree")
    try:
        build(work / "top", tree, [])
        check_with_gnu_tar(packed(work / "top"), work / "top", work / "out")
    finally:
        shutil.rmtree(work)


@settings(max_examples=200, deadline=None)
@given(tree=TREES)
def test_copies_are_the_same_when_normalised(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]) -> None:
    work = tmp_path_factory.mktemp("tree")
    try:
        build(work / "top", tree, [])
        first = packed(work / "top", normal=True)
        assert read_all(normalised(packed(work / "top"))) == first
        (work / "copy").mkdir()
        build(work / "copy" / "top", tree, [])
        for path in entries(work / "copy" / "top"):
            os.utime(path, (5, random.Random(os.fsencode(path)).randrange(1 << 32)), follow_symlinks=False)
            if path.is_file() and not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o100 | 0o604)
        assert packed(work / "copy" / "top", normal=True) == first
        with tarfile.open(fileobj=io.BytesIO(first)) as opened:
            for member in opened:
                assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
    finally:
        shutil.rmtree(work)


def normalised(archive: bytes) -> TarReader:
    reader = TarReader(io.BytesIO(archive))
    reader.normalise()
    return reader


def read_all(reader: TarReader | FolderReader, piece: int = 3000) -> bytes:
    buffer = bytearray(piece)
    return b"".join(bytes(buffer[:count]) for count in iter(lambda: reader.readinto(buffer), 0))


@settings(max_examples=200, deadline=None)
@given(
    members=st.lists(
        st.tuples(
            st.text(min_size=1, max_size=150).filter(lambda name: "\0" not in name and name.strip("/")),
            st.binary(max_size=1200),
            st.integers(-(2**40), 2**40),
            st.integers(0, 2**40),
        ),
        min_size=1,
        max_size=6,
    ),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    piece=st.sampled_from([1, 100, 512, 5000]),
)
def test_tar_files_of_others_are_read(members: list[Any], form: int, piece: int) -> None:
    """As Python's tarfile writes them, with the times and owners only its extensions can say."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form, encoding="utf-8") as archive:
        for name, data, mtime, uid in members:
            info = tarfile.TarInfo(name.strip("/"))
            info.size, info.uid = len(data), uid
            info.mtime = mtime if form == tarfile.PAX_FORMAT else abs(mtime)
            archive.addfile(info, io.BytesIO(data))
    same = read_all(TarReader(_Pieces(made.getvalue(), piece)))
    assert made.getvalue().startswith(same)
    normal = read_all(normalised(made.getvalue()))
    with tarfile.open(fileobj=io.BytesIO(same)) as before, tarfile.open(fileobj=io.BytesIO(normal)) as after:
        assert len(before.getmembers()) == len(members)
        for old, new in zip(before, after, strict=True):
            assert (new.mtime, new.uid, new.mode) == (0, 0, 0o644)
            assert (old.name, old.size) == (new.name, new.size)
            assert before.extractfile(old).read() == after.extractfile(new).read()  # type: ignore[union-attr]


class _Pieces:
    def __init__(self, data: bytes, piece: int) -> None:
        self._data, self._piece = io.BytesIO(data), piece

    def readinto(self, buffer: memoryview, /) -> int:
        return self._data.readinto(buffer[: self._piece])


def test_names_around_the_limits_of_the_header(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for size in (94, 95, 96, 97, 150, 155, 160, 251):
        folder = top / ("d" * size)
        folder.mkdir(parents=True)
        for inner in (90, 98, 99, 100, 101, 255):
            (folder / ("f" * inner)).write_bytes(b"%d" % inner)
    check_with_tarfile(packed(top), top)
    check_with_gnu_tar(packed(top), top, tmp_path / "out")


def test_times_and_owners_no_header_can_hold(tmp_path: Path) -> None:
    for name, mtime in (("a", -1), ("b", -(2**31)), ("c", 2**33 - 1), ("d", 2**33)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, mtime))
        if os.geteuid() == 0:
            os.chown(tmp_path / name, 2**21 - 1 + (mtime > 0), 2**31)
    check_with_tarfile(packed(tmp_path), tmp_path)


def test_order_is_bytewise_by_path(tmp_path: Path) -> None:
    top = tmp_path / "t"
    for name in ("a/c", "a-b", "a.d", "a0", "A", "é", "z/z/z", "a/-"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    with tarfile.open(fileobj=io.BytesIO(packed(top))) as opened:
        names = [member.name + "/" * member.isdir() for member in opened]
    assert names == sorted(names, key=os.fsencode)
    assert names[:6] == ["t/", "t/A", "t/a-b", "t/a.d", "t/a/", "t/a/-"]


def test_a_file_beyond_8_gib(tmp_path: Path) -> None:
    """The size no ustar header holds: 8 GiB and 3 bytes, most of them a hole, as is the archive."""
    assert GNU_TAR
    top, archive = tmp_path / "top", tmp_path / "archive.tar"
    top.mkdir()
    size = (8 << 30) + 3
    with (top / "big").open("wb") as big:
        big.truncate(size)
        big.seek(size - 5)
        big.write(b"final")
    (top / "next").write_bytes(b"behind it")
    buffer = bytearray(1 << 20)
    zeros = bytes(len(buffer))
    with FolderReader(top) as reader, archive.open("wb", buffering=0) as out:
        while count := reader.readinto(buffer):
            if count == len(buffer) and buffer == zeros:
                out.seek(count, os.SEEK_CUR)
            else:
                out.write(memoryview(buffer)[:count])
    with tarfile.open(archive) as opened:
        assert {member.name: member.size for member in opened} == {"top": 0, "top/big": size, "top/next": 9}
        with opened.extractfile("top/big") as content:  # type: ignore[union-attr]
            content.seek(size - 8)
            assert content.read() == b"\0\0\0final"
        assert opened.extractfile("top/next").read() == b"behind it"  # type: ignore[union-attr]
    listed = subprocess.run([GNU_TAR, "-tvf", archive], capture_output=True, text=True, check=True)
    assert [line.split()[2] for line in listed.stdout.splitlines()] == ["0", str(size), "9"]


def test_many_files_in_many_batches(tmp_path: Path) -> None:
    top = tmp_path / "top"
    chooser = random.Random(3)
    for number in range(40 * BATCH):
        folder = top / f"{number % 37}" / f"{number % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}").write_bytes(chooser.randbytes(chooser.choice([0, 10, 700, 5000, INLINE + 9])))
        if number % 7 == 0:
            os.link(folder / f"{number}", top / f"{number % 37}" / f"link {number}")
    check_with_tarfile(packed(top), top)


def test_a_deep_tree_and_what_follows_it(tmp_path: Path) -> None:
    """Deeper than descriptors are kept open: the way back goes by "..", and paths are longer than any call takes."""
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(400):
        for name in ("a", "z"):
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.mkdir("d" * 20, dir_fd=here)
        inner = os.open("d" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    with tarfile.open(fileobj=io.BytesIO(packed(top))) as opened:
        names = opened.getnames()
    assert len(names) == 1 + 400 * 3
    assert len(set(names)) == len(names)
    assert names[-1] == "top/z"
    assert max(map(len, names)) == 3 + 400 * 21


def test_a_file_that_changes_its_size_is_cut_or_padded_and_told(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    size = 3 << 20
    for name in ("a shrinks", "b grows", "c stays"):
        (top / name).write_bytes(b"x" * size)
    with FolderReader(top) as reader:
        start = reader.read(1)
        os.truncate(top / "a shrinks", 1 << 20)
        with (top / "b grows").open("ab") as growing:
            growing.write(b"more")
        archive = start + reader.readall()
        assert reader.warning == (
            "2 ('top/a shrinks' first): changed while being read, cut or padded to the size at the start"
        )
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        contents = [opened.extractfile(member).read() for member in opened if member.isreg()]  # type: ignore[union-attr]
    assert contents == [b"x" * (1 << 20) + bytes(2 << 20), b"x" * size, b"x" * size]


def test_small_files_that_are_longer_than_they_say() -> None:
    """As those of procfs: they announce no size, and have content."""
    with FolderReader("/proc/sys/kernel/random") as reader:
        archive = reader.readall()
        assert "changed while being read" in reader.warning
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert "random/boot_id" in opened.getnames()


def test_what_vanishes_while_the_folder_is_read_is_left_out_and_told(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    for number in range(1000):
        (top / f"{number:03}").write_bytes(b"x" * 1000)
    (top / "zz folder" / "inner").mkdir(parents=True)
    (top / "zzz").write_bytes(b"x")
    with FolderReader(top) as reader:
        start = reader.read(1)
        (top / "998").unlink()
        (top / "999").unlink()
        (top / "999").symlink_to("elsewhere")
        shutil.rmtree(top / "zz folder")
        (top / "zzz").unlink()
        (top / "zzz").mkdir()
        archive = start + reader.readall()
        assert reader.warning == "3 ('top/998' first): vanished while the folder was read, left out"
        assert reader.entries == 1000
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert opened.getmember("top/999").issym()
        assert len(opened.getnames()) == 1000


def test_sockets_are_left_out_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    with FolderReader(tmp_path) as reader:
        assert read_all(reader).count(b"ustar") == 1
        assert reader.warning == f"1 ({tmp_path.name + '/socket'!r} first): left out, no archive can hold a socket"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """By a user who is not root, whoever runs this."""
    top = tmp_path / "top"
    (top / "b" / "c").mkdir(parents=True)
    (top / "a").write_bytes(b"x")
    (top / "b" / "secret").write_bytes(b"x")
    code = (
        "import os, sys\n"
        "from acceleratorAPI.native.folder import FolderReader\n"
        "from acceleratorAPI.errors import FileAccessError\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "reader = FolderReader('top')\n"
        "try:\n"
        "    reader.readall()\n"
        "except FileAccessError as error: print(error)\n"
    )
    real = os.path.realpath(top)
    for path, said in ((top / "b" / "secret", f"{real}/b/secret"), (top / "b" / "c", f"{real}/b/c"), (top, real)):
        path.chmod(0)
        for folder in (tmp_path, *(f for f in tmp_path.parents if f.name.startswith(("pytest-", "popen-")))):
            with contextlib.suppress(OSError):
                folder.chmod(0o755)
        result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.stdout == f"cannot read {said!r}: Permission denied\n", result.stderr
        path.chmod(0o755)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, reason in (("none", "No such file"), ("file", "Not a directory")):
        with pytest.raises(FileAccessError, match=f"cannot read '.*{name}': {reason}"):
            FolderReader(tmp_path / name).read(1)


@pytest.mark.parametrize("name", [".", "../top", "top/", "link"])
def test_the_name_is_that_of_the_real_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "top" / "top").mkdir(parents=True)
    (tmp_path / "top" / "link").symlink_to(".")
    monkeypatch.chdir(tmp_path / "top")
    archive = packed(Path(name) if name != "top/" else Path("../top"))
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert opened.getnames()[0] == "top"


def test_closed_early_or_forgotten_it_leaves_no_thread(tmp_path: Path) -> None:
    for number in range(500):
        (tmp_path / f"{number}").write_bytes(b"x" * 10_000)

    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    before = threads()
    reader = FolderReader(tmp_path)
    reader.read(10)
    assert threads() > before
    reader.close()
    reader.close()
    assert threads() == before
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)
    forgotten = FolderReader(tmp_path)
    forgotten.read(10)
    del forgotten
    gc.collect()
    assert threads() == before


def test_memory_is_bounded(tmp_path: Path) -> None:
    """400 MB of files just small enough to be read ahead, and nobody in a hurry to take them."""
    for number in range(6400):
        with (tmp_path / f"{number}").open("wb") as file:
            file.truncate(INLINE)

    def rss() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    buffer = bytearray(1 << 20)
    with FolderReader(tmp_path) as reader:
        reader.readinto(buffer)
        first = peak = rss()
        total = 0
        while count := reader.readinto(buffer):
            total += count
            peak = max(peak, rss())
    assert total > 400 << 20
    assert peak - first < 48 << 20


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (b"", "byte 0: it is empty"),
        (b"x" * 512, "byte 0: this is no tar header"),
        (b"x" * 100, "breaks off"),
    ],
)
def test_what_is_no_tar_file_is_refused(archive: bytes, said: str) -> None:
    with pytest.raises(CorruptInputError, match=said):
        read_all(TarReader(io.BytesIO(archive)))


def test_damaged_tar_files_are_refused() -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("é")
        info.size = 700
        archive.addfile(info, io.BytesIO(bytes(700)))
    whole = made.getvalue()
    ends = {1536 + 1024, *range(2560, len(whole) + 1, 512)}
    for cut in range(1, 2560):
        with pytest.raises(CorruptInputError, match="breaks off"):
            read_all(TarReader(io.BytesIO(whole[:cut])))
    for cut in ends:
        assert read_all(TarReader(io.BytesIO(whole[:cut]))) == whole[:2560] + bytes(1024)
    sparse = bytearray(whole[1024:])
    sparse[156:157] = b"S"
    sparse[148:156] = b"%06o\0 " % (sum(sparse[:148]) + 8 * 32 + sum(sparse[156:512]))
    with pytest.raises(CorruptInputError, match="--sparse"):
        read_all(TarReader(io.BytesIO(bytes(sparse))))


def edited(stream: bytes, piece_bytes: int) -> None:
    editor = TarEditor()
    for at in range(0, len(stream), piece_bytes):
        editor.edit(stream[at : at + piece_bytes])


@pytest.mark.parametrize("piece_bytes", [1, 100, 512, 4096])
def test_a_damaged_header_is_named_by_its_place(piece_bytes: int) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("é", "ü"):  # each: a pax header of two blocks, a header, a block of content
            info = tarfile.TarInfo(name)
            info.size = 100
            archive.addfile(info, io.BytesIO(bytes(100)))
    for damaged, named in ((2048, 2048), (2560, 2048), (3072, 3072)):
        stream = bytearray(made.getvalue())
        stream[damaged : damaged + 4] = b"\xff\xff\xff\xff"
        with pytest.raises(TarError, match=f"byte {named}: "):
            edited(stream, piece_bytes)


def test_without_its_end_another_archive_can_follow(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    first = FolderReader(tmp_path / "one")
    first.omit_end()
    second = TarReader(io.BytesIO(packed(tmp_path / "two")))
    second.omit_end()
    joined = first.readall() + read_all(second) + bytes(1024)
    with tarfile.open(fileobj=io.BytesIO(joined)) as opened:
        assert opened.getnames() == ["one", "one/file", "two", "two/file"]


def test_wrong_calls(tmp_path: Path) -> None:
    packer = FolderPacker(os.fsencode(tmp_path), b"top", 2)
    with pytest.raises((TypeError, BufferError)):
        packer.readinto(b"not writable")
    with pytest.raises(TypeError):
        TarEditor().edit("text")  # type: ignore[arg-type]


def test_several_threads_may_read_one_after_the_other(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}").write_bytes(b"x" * 5000)
    reader = FolderReader(tmp_path)
    taken: list[int] = []

    def take() -> Iterator[None]:
        while count := reader.readinto(bytearray(10_000)):
            taken.append(count)
        yield

    workers = [threading.Thread(target=lambda: list(take())) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(taken) == len(packed(tmp_path))
