"""aclz_tgz, judged by Python's tarfile and gzip and by GNU tar."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acceleratorAPI import Accelerator
from acceleratorAPI.acceleratorAPI import AcceleratorClass
from acceleratorAPI.errors import AcceleratorError, InputError, ParameterError, StateError
from acceleratorAPI.files import open_source
from acceleratorAPI.functions.aclz_tgz import GZIP, TAR, TAR_GZIP, Tgz, TgzConfigureParameters, TgzParameters
from acceleratorAPI.functions.base import Outcome, check_parameters
from acceleratorAPI.functions.inputs import SourceInfo
from acceleratorAPI.functions.members import Member, header
from acceleratorAPI.native.folder import FolderReader, TarReader
from acceleratorAPI.testing.function_contract import FunctionContract


def members(archive: bytes) -> dict[str, bytes | None]:
    """Name and content of each member; an archive with anything behind its end is refused."""
    with tarfile.open(fileobj=io.BytesIO(archive), errorlevel=2) as opened:
        found = {}
        for member in opened:
            assert member.name not in found
            file = opened.extractfile(member)
            found[member.name] = file.read() if file else None
        assert archive[opened.offset :].strip(b"\0") == b""
    return found


class TestTarGzip(FunctionContract):
    function = Tgz
    process_values: ClassVar = {"deterministic": True}

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        assert members(gzip.decompress(got)) == {"data": given}
        assert outcome.specific == {"members": 1, "complete": 1}

    def check_folder(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        normal = TarReader(io.BytesIO(given))
        normal.normalise()
        buffer = bytearray(len(given))
        assert gzip.decompress(got) == bytes(buffer[: normal.readinto(buffer)]).ljust(len(given), b"\0")
        assert outcome.specific == {"members": 3, "complete": 1}


class TestTarGzipInMembers(TestTarGzip):
    process_values: ClassVar = {"deterministic": True, "form": "members", "block_size": 64 << 10}


class TestTar(TestTarGzip):
    configure_values: ClassVar = {"mode": TAR}

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        assert members(got) == {"data": given}

    def check_folder(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        assert list(members(got)) == ["folder", "folder/empty", "folder/file"]


class TestGzip(FunctionContract):
    function = Tgz
    configure_values: ClassVar = {"mode": GZIP}

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        assert gzip.decompress(got) == given

    def test_a_folder_is_taken_or_refused(self, configured: Any, tmp_path: Path) -> None:
        with FolderReader(tmp_path) as folder, pytest.raises(InputError, match="start with mode 3"):
            configured.process_folder(folder, io.BytesIO(), TgzParameters())


def made(mode: int, threads: int = 2) -> Tgz:
    function = Tgz(threads)
    function.configure(TgzConfigureParameters(mode=mode), None)
    return function


def run(function: Tgz, source: Any, **values: Any) -> tuple[bytes, Outcome]:
    target = io.BytesIO()
    parameters = check_parameters(TgzParameters, values, "aclz_tgz")
    assert isinstance(parameters, TgzParameters)
    if isinstance(source, Path) and source.is_dir():
        with FolderReader(source) as folder:
            outcome = function.process_folder(folder, target, parameters)
    elif isinstance(source, Path):
        with open_source(source) as file:
            outcome = function.process(file, target, parameters)
    else:
        outcome = function.process(io.BytesIO(source), target, parameters)
    return target.getvalue(), outcome


def plain(mode: int, archive: bytes) -> bytes:
    return archive if mode == TAR else gzip.decompress(archive)


NAME = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60).filter(
    lambda name: name == name.strip() and name not in (".", "..")
)


@settings(max_examples=250, deadline=None)
@given(
    files=st.dictionaries(NAME, st.binary(max_size=3000), min_size=1, max_size=6),
    mode=st.sampled_from([GZIP, TAR, TAR_GZIP]),
    level=st.integers(0, 3),
    workers=st.integers(1, 3),
)
def test_files_added_call_by_call(files: dict[str, bytes], mode: int, level: int, workers: int) -> None:
    """By any worker: several objects share the scratch folder, as those of several processes do."""
    functions = [made(mode) for _ in range(workers)]
    for function in functions:
        function.scratch = functions[0].scratch
    chooser = random.Random(level)
    for number, (name, data) in enumerate(files.items()):
        first, last = number == 0, number == len(files) - 1
        values: dict[str, Any] = {"startOfTx": int(first), "endOfTx": int(last), "level": level}
        if mode != GZIP:
            values["name"] = name
        archive, outcome = run(chooser.choice(functions), data, **values)
        assert outcome.has_output is last
        assert outcome.specific == {"members": number + 1, "complete": int(last)}
        assert outcome.measurement.bytes_in == len(data)
        assert bool(archive) is last
    if mode == GZIP:
        assert gzip.decompress(archive) == b"".join(files.values())
    else:
        assert members(plain(mode, archive)) == files


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=5000), mode=st.sampled_from([GZIP, TAR, TAR_GZIP]), spelled=st.booleans())
def test_one_call_makes_a_complete_archive(data: bytes, mode: int, spelled: bool) -> None:
    archive, outcome = run(made(mode), data, **({"startOfTx": 1, "endOfTx": 1} if spelled else {}))
    assert outcome.has_output
    assert plain(mode, archive) == data if mode == GZIP else members(plain(mode, archive)) == {"data": data}


@settings(max_examples=150, deadline=None)
@given(
    name=NAME,
    size=st.one_of(st.integers(0, 1 << 40), st.integers((8 << 30) - 1, (8 << 30) + 1)),
    deterministic=st.booleans(),
)
def test_a_header_is_read_back(name: str, size: int, deterministic: bool) -> None:
    made_header = header(name, SourceInfo(name, size, os.stat(__file__)), size, deterministic=deterministic)
    with tarfile.open(fileobj=io.BytesIO(made_header), ignore_zeros=False) as opened:
        member = opened.next()
        assert member is not None
        assert (member.name, member.size) == (name, size)
        assert (member.mtime == 0) is deterministic


def test_the_users_own_file_keeps_mode_owner_and_time(tmp_path: Path) -> None:
    path = tmp_path / "päckchen.sh"
    path.write_bytes(b"#!/bin/sh\n")
    path.chmod(0o751)
    os.utime(path, (0, 1_400_000_000))
    archive, _ = run(made(TAR), path)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        member = opened.getmember("päckchen.sh")
    status = path.stat()
    assert (member.mode, member.mtime, member.uid) == (0o751, 1_400_000_000, status.st_uid)
    archive, _ = run(made(TAR), path, deterministic=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        member = opened.getmember("päckchen.sh")
    assert (member.mode, member.mtime, member.uid, member.uname) == (0o755, 0, 0, "")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with some of everything."""
    top = tmp_path / "tree"
    (top / "sub" / "empty").mkdir(parents=True)
    (top / "sub" / ("n" * 120)).write_bytes(b"long name")
    (top / "ünïcode").write_bytes(random.Random(1).randbytes(200_000))
    (top / "text").write_text("some text\n" * 30_000)
    (top / "link").symlink_to("sub/" + "n" * 120)
    os.link(top / "text", top / "z second name")
    for path in [*top.rglob("*"), top]:
        os.utime(path, (1_500_000_000, 1_500_000_000), follow_symlinks=False)
    return top


@pytest.mark.parametrize("mode", [TAR, TAR_GZIP])
def test_gnu_tar_unpacks_a_folder(tree: Path, tmp_path: Path, mode: int) -> None:
    tar = shutil.which("tar")
    assert tar, "these tests need GNU tar"
    path = tmp_path / "archive"
    path.write_bytes(run(made(mode), tree)[0])
    (tmp_path / "out").mkdir()
    result = subprocess.run([tar, "-xpf", path, "-C", tmp_path / "out"], capture_output=True, check=True)
    assert result.stderr == b""
    compared = subprocess.run(
        ["diff", "-r", "--no-dereference", tree, tmp_path / "out" / "tree"], capture_output=True, check=False
    )
    assert (compared.returncode, compared.stdout) == (0, b"")
    assert (tmp_path / "out/tree/text").samefile(tmp_path / "out/tree/z second name")
    assert subprocess.run([tar, "-df", path, "-C", tmp_path], capture_output=True, check=True).stdout == b""


def test_deterministic_archives_of_two_copies_are_the_same(tree: Path, tmp_path: Path) -> None:
    first, _ = run(made(TAR_GZIP, threads=1), tree, deterministic=True)
    assert run(made(TAR_GZIP), tree, deterministic=True)[0] == first
    copy = tmp_path / "elsewhere" / "tree"
    copy.parent.mkdir()
    subprocess.run(["cp", "-r", "--preserve=links", tree, copy], check=True)
    os.utime(copy / "text", (1, 1))
    (copy / "text").chmod(0o600)
    assert run(made(TAR_GZIP), copy, deterministic=True)[0] == first
    assert run(made(TAR_GZIP), copy)[0] != first


def test_files_and_folders_in_one_transaction(tree: Path, tmp_path: Path) -> None:
    function = made(TAR_GZIP)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_bytes(b"1")
    assert run(function, tree, startOfTx=1)[1].specific["members"] == 8
    assert run(function, b"between", startOfTx=0, endOfTx=0, name="notes/readme")[1].specific["members"] == 9
    archive, outcome = run(function, tmp_path / "other", endOfTx=1)
    assert outcome.specific == {"members": 11, "complete": 1}
    found = members(gzip.decompress(archive))
    assert list(found)[-3:] == ["notes/readme", "other", "other/file"]
    assert len(found) == 11
    # The last call may be for a file behind a folder, and the next archive begins anew.
    assert members(gzip.decompress(run(function, b"new")[0])) == {"data": b"new"}


def test_calls_out_of_order_say_what_to_do() -> None:
    function = made(TAR_GZIP)
    with pytest.raises(StateError, match="no archive is open: begin one with startOfTx=1"):
        run(function, b"", endOfTx=1)
    with pytest.raises(StateError, match="no archive is open"):
        run(function, b"", startOfTx=0, endOfTx=0)
    run(function, b"1", startOfTx=1, endOfTx=0, name="a")
    for values in ({"startOfTx": 1, "endOfTx": 0}, {}, {"startOfTx": 1, "endOfTx": 1}):
        with pytest.raises(StateError, match=r"an archive of 1 member is open: .* finish it with"):
            run(function, b"", **values)
    with pytest.raises(InputError, match="'a' is in the archive already; give this one another name="):
        run(function, b"", endOfTx=0, name="a")
    function.job = "7"
    assert members(gzip.decompress(run(function, b"2", endOfTx=1, name="b")[0])) == {"a": b"1", "b": b"2"}
    function.job = "8"
    for _ in range(2):
        with pytest.raises(StateError, match="the last one was given to job 7; begin again with startOfTx=1"):
            run(function, b"", endOfTx=1)


@pytest.mark.parametrize(
    ("there", "added", "said"),
    [
        ("t.txt", "./t.txt", "'t.txt' is in the archive already; give this one another name="),
        ("a/b", "a//./b", "'a/b' is in the archive already"),
        ("t.txt", "t.txt/x", "name = 't.txt/x': 't.txt' is a file of the archive"),
        ("a/b", "a/b/c/d", "'a/b' is a file of the archive"),
        ("a/b/c", "a/b", "'a/b' is a folder of the archive; give this one another name="),
    ],
)
def test_a_name_that_tar_could_not_unpack_is_refused(there: str, added: str, said: str) -> None:
    function = made(TAR)
    run(function, b"1", startOfTx=1, name=there)
    with pytest.raises(InputError, match=said):
        run(function, b"2", endOfTx=1, name=added)
    archive, _ = run(function, b"2", endOfTx=1, name="./other//file")
    assert members(archive) == {there: b"1", "other/file": b"2"}


def test_a_folder_added_again_is_to_be_renamed(tree: Path) -> None:
    function = made(TAR)
    run(function, tree, startOfTx=1)
    with pytest.raises(InputError, match="'tree' is in the archive already; rename the folder"):
        run(function, tree, endOfTx=1)
    with pytest.raises(InputError, match="'tree' is in the archive already; give this one another name="):
        run(function, b"", endOfTx=1, name="tree")
    assert "tree/more" in members(run(function, b"", endOfTx=1, name="tree/more")[0])


@pytest.mark.parametrize(
    ("mode", "values", "said"),
    [
        (TAR, {"name": "/etc/passwd"}, "relative path"),
        (TAR, {"name": "a/../../b"}, "relative path"),
        (TAR, {"name": ""}, "name' = '': is empty; leave it out"),
        (TAR, {"name": "dir/"}, "'dir/': names a folder; name the file in it"),
        (TAR, {"name": "./."}, "names a folder"),
        (TAR, {"startOfTx": 2}, "startOfTx"),
        (TAR, {"level": 77}, "level"),
        (TAR, {"deterministc": True}, "did you mean 'deterministic'"),
        (GZIP, {"name": "x"}, "mode 1"),
        (TAR_GZIP, {"startOfTx": 1, "form": "members"}, "an archive that grows is 'single'"),
    ],
)
def test_wrong_parameters(mode: int, values: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        run(made(mode), b"", **values)


def test_wrong_modes_and_names(tree: Path) -> None:
    for mode in (0, 4, "tar"):
        with pytest.raises(ParameterError, match="mode"):
            check_parameters(TgzConfigureParameters, {"mode": mode}, "aclz_tgz")
    with pytest.raises(ParameterError, match="a folder keeps its own"):
        run(made(TAR), tree, name="x")


class _Failing:
    def readinto(self, buffer: memoryview, /) -> int:
        raise OSError("the disk is gone")


def test_a_call_that_fails_leaves_the_archive_as_it_was() -> None:
    function = made(TAR_GZIP)
    run(function, b"1" * 100_000, startOfTx=1, name="a")
    for _ in range(2):
        for end in (0, 1):
            with pytest.raises(OSError, match="the disk is gone"):
                function.process(_Failing(), io.BytesIO(), TgzParameters(startOfTx=0, endOfTx=end, name="b"))
    archive, _ = run(function, b"3", endOfTx=1, name="c")
    assert members(gzip.decompress(archive)) == {"a": b"1" * 100_000, "c": b"3"}


def test_what_a_dead_worker_had_begun_to_write_does_not_count() -> None:
    function = made(TAR)
    run(function, b"1", startOfTx=1, name="a")
    growing = next(path for path in function.scratch.iterdir() if path.name == "growing")
    with growing.open("ab") as file:
        file.write(b"half a member")
    archive, _ = run(function, b"2", endOfTx=1, name="b")
    assert members(archive) == {"a": b"1", "b": b"2"}


@pytest.mark.parametrize("mode", [GZIP, TAR, TAR_GZIP])
def test_a_job_that_begins_again_adds_nothing_twice_and_gives_the_same(mode: int) -> None:
    """As a node does after a crash: the worker had done its work, and nobody knows."""
    function = made(mode)
    always = {"deterministic": True}  # else the time of the call is in the member's header
    named = (lambda name: always) if mode == GZIP else (lambda name: {"name": name, **always})
    for job, data, first in (("1", b"one", 1), ("1", b"one", 0), ("2", b"two", 0), ("2", b"two", 0)):
        function.job = job
        if first or job != "1":
            run(function, data, startOfTx=first, endOfTx=0, **named(job))
        else:
            again = run(function, data, startOfTx=0, endOfTx=0, **named(job))[1]
            assert again.specific["members"] == 1
    function.job = "3"
    archives = [run(function, b"three", endOfTx=1, **named("3"))[0] for _ in range(2)]
    assert archives[0] == archives[1]
    plain = archives[0] if mode == TAR else gzip.decompress(archives[0])
    assert plain == b"onetwothree" if mode == GZIP else members(plain) == {"1": b"one", "2": b"two", "3": b"three"}
    function.job = "4"
    with pytest.raises(StateError, match="no archive is open"):
        run(function, b"four", endOfTx=1, **named("4"))
    run(function, b"new", startOfTx=1, endOfTx=0, **named("new"))


def test_calls_at_the_same_time_wait_for_each_other() -> None:
    functions = [made(TAR_GZIP, threads=1) for _ in range(6)]
    for function in functions[1:]:
        function.scratch = functions[0].scratch
    run(functions[0], b"0", startOfTx=1, name="first")
    data = {f"{number}": random.Random(number).randbytes(400_000) for number in range(6)}

    def add(number: int) -> None:
        run(functions[number], data[f"{number}"], endOfTx=0, name=f"{number}")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    archive, _ = run(functions[0], b"9", endOfTx=1, name="last")
    found = members(gzip.decompress(archive))
    assert found == {"first": b"0", **data, "last": b"9"}
    assert next(iter(found)) == "first"


def test_a_file_that_changes_its_size() -> None:
    data = io.BytesIO(b"12345678")
    buffer = memoryview(bytearray(4096))
    longer = Member(b"", data, 5, last=False)
    assert bytes(buffer[: longer.readinto(buffer)]) == b"12345"
    shorter = Member(b"", io.BytesIO(b"123"), 5, last=False)
    assert shorter.readinto(buffer) == 3
    with pytest.raises(InputError, match="the input shrank while it was read: 3 of 5 bytes"):
        shorter.readinto(buffer)


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("module")
    path = folder / "accelerator.conf"
    path.write_text(f"[general]\nstate_dir = {folder / 'state'}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("shared", [True, False])
def test_a_folder_through_a_node(conf: Path, tree: Path, tmp_path: Path, shared: bool) -> None:
    """In place and sent, the same archive."""
    told = []
    with Accelerator("aclz_tgz", config_file=conf, shared_files=shared) as accelerator:
        accelerator.start(mode=TAR)
        result = accelerator.process(tree, tmp_path / "out.tar", progress=told.append)
        assert result.specific["members"] == 8
        assert result.bytes_in == result.bytes_out == (tmp_path / "out.tar").stat().st_size
        assert (tmp_path / "out.tar").read_bytes() == run(made(TAR), tree)[0]
        if not shared:
            assert {progress.phase for progress in told} >= {"upload", "download"}
        assert all(progress.bytes_total is None for progress in told if progress.phase == "upload")
        with pytest.raises(InputError, match="lies in the input folder"):
            accelerator.process(tree, tree / "sub" / "out.tar")
        (tmp_path / "sub").mkdir()
        (mapped,) = accelerator.process_map([f"{tree}/"], tmp_path / "sub", deterministic=True)
        assert mapped.destination == str(tmp_path / "sub" / "tree")
        # Call by call; only the last gives a file.
        untouched = tmp_path / "untouched"
        untouched.write_bytes(b"as it was")
        first = accelerator.process(b"1", untouched, startOfTx=1, name="a")
        assert (first.destination, first.bytes_out, first.data) == ("", 0, None)
        assert untouched.read_bytes() == b"as it was"
        assert accelerator.process(tree / "text", startOfTx=0, endOfTx=0).data is None
        last = accelerator.process(tree, untouched, endOfTx=1)
        assert last.destination == str(untouched)
        assert list(members(untouched.read_bytes()))[:3] == ["a", "text", "tree"]


def test_a_function_without_folders_refuses_one(conf: Path, tree: Path) -> None:
    with Accelerator("cast_gzip", config_file=conf) as accelerator:
        accelerator.start()
        with pytest.raises(AcceleratorError, match="it is a folder; name a file in it"):
            accelerator.process(tree, os.devnull)


def test_the_historical_face_adds_file_by_file(tree: Path, tmp_path: Path) -> None:
    accelerator = AcceleratorClass(accelerator="aclz_tgz")
    started, content = accelerator.start(accelerator_parameters=json.dumps({"mode": 3}))
    assert started, content
    for name, parameters in (("text", {"startOfTx": 1, "endOfTx": 0}), ("ünïcode", {"startOfTx": 0, "endOfTx": 0})):
        done, content = accelerator.process(file_in=str(tree / name), accelerator_parameters=json.dumps(parameters))
        assert done, content
        assert content["app"]["specific"]["complete"] == 0
    done, content = accelerator.process(
        file_in=str(tree / "sub"),
        file_out=str(tmp_path / "out.tgz"),
        accelerator_parameters={"startOfTx": 0, "endOfTx": 1},
    )
    assert done, content
    assert accelerator.stop()[0]
    with tarfile.open(tmp_path / "out.tgz", "r:gz") as opened:
        assert opened.getnames() == ["text", "ünïcode", "sub", "sub/empty", "sub/" + "n" * 120]


def test_a_transaction_goes_on_after_its_worker_was_killed(conf: Path) -> None:
    with Accelerator("aclz_tgz", config_file=conf) as accelerator:
        accelerator.start(mode=TAR_GZIP)
        accelerator.process(b"1", startOfTx=1, name="a")
        assert accelerator.process(b"2" * 1000, endOfTx=0, name="b").specific == {
            "members": 2,
            "complete": 0,
            "Metering": "NOT ACTIVATED: no store is configured",
        }
        workers = [
            process
            for process in psutil.Process().children(recursive=True)
            if process.status() != psutil.STATUS_ZOMBIE and "acceleratorAPI.node.worker" in " ".join(process.cmdline())
        ]
        assert workers
        for worker in workers:
            worker.kill()
        psutil.wait_procs(workers, 10)
        result = accelerator.process(b"3", endOfTx=1, name="c")
        assert result.data is not None
        assert members(gzip.decompress(result.data)) == {"a": b"1", "b": b"2" * 1000, "c": b"3"}
