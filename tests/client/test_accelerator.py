"""The modern face on a real LOCAL node: every kind of input and output, and every kind of mistake."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO

import psutil
import pytest

from acceleratorAPI import Accelerator, AcceleratorError, ProcessResult, TransferProgress
from acceleratorAPI.errors import (
    AuthenticationError,
    ConfigurationError,
    DatafileError,
    FileAccessError,
    FunctionUnknownError,
    InputError,
    InstanceError,
    InstanceNotFoundError,
    JobCancelledError,
    NodeUnreachableError,
    ParameterError,
    ProviderUnknownError,
    StateError,
    WorkerCrashedError,
)
from acceleratorAPI.protocol.batch import MOST_JOBS
from acceleratorAPI.protocol.stop import StopMode

TEXT = b"the quick brown fox jumps over the lazy dog\n" * 5000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in put.dat"
    path.write_bytes(TEXT)
    return path


def entries(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_path_to_path(gzipper: Accelerator, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.gz"
    result = gzipper.process(source, target)
    assert gzip.decompress(target.read_bytes()) == TEXT
    assert result.bytes_in == len(TEXT)
    assert result.bytes_out == target.stat().st_size
    assert result.destination == str(target)
    assert result.data is None
    assert result.backend == "cpu"
    assert result.kernel_s > 0
    assert abs(result.bandwidth_mb_s * 1e6 * result.kernel_s - result.bytes_in - result.bytes_out) < 1
    assert str(target) in str(result)
    assert entries(tmp_path) == ["in put.dat", "out.gz"]


SOURCES: dict[str, Callable[[Path], object]] = {
    "text": str,
    "path": lambda path: path,
    "file": lambda path: path.open("rb"),
    "bytes": lambda path: path.read_bytes(),
    "memory": lambda path: io.BytesIO(path.read_bytes()),
}


@pytest.mark.parametrize("shared_files", [None, False])
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("into", ["path", "file", "memory", "bytes"])
def test_every_source_to_every_destination(
    gzipper: Accelerator, conf: Path, kind: str, into: str, shared_files: bool | None, source: Path, tmp_path: Path
) -> None:
    assert gzipper.instance is not None
    user = Accelerator("cast_gzip", config_file=conf, instance_id=gzipper.instance.id, shared_files=shared_files)
    user.start()
    given = SOURCES[kind](source)
    target = tmp_path / "out.gz"
    file: BinaryIO | None = None
    if into == "file":
        file = target.open("wb")
    elif into == "memory":
        file = io.BytesIO()
    result = user.process(given, target if into == "path" else file)  # type: ignore[arg-type]
    if into == "bytes":
        packed = result.data
    elif isinstance(file, io.BytesIO):
        packed = file.getvalue()
    else:
        if file is not None:
            assert not file.closed
            file.close()
        packed = target.read_bytes()
    assert packed is not None
    assert gzip.decompress(packed) == TEXT
    assert result.bytes_out == len(packed)
    if isinstance(given, io.IOBase):
        assert not given.closed
        given.close()
    user.close()


def test_a_fifo_and_an_empty_input(gzipper: Accelerator, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    thread = threading.Thread(target=fifo.write_bytes, args=(TEXT,))
    thread.start()
    assert gzip.decompress(gzipper.process(fifo).data or b"") == TEXT
    thread.join()
    result = gzipper.process(b"", tmp_path / "empty.gz")
    assert gzip.decompress((tmp_path / "empty.gz").read_bytes()) == b""
    assert result.bytes_in == 0


def test_a_link_is_followed_and_a_replaced_file_keeps_its_mode(
    gzipper: Accelerator, source: Path, tmp_path: Path
) -> None:
    real = tmp_path / "real.gz"
    real.write_bytes(b"old")
    real.chmod(0o640)
    (tmp_path / "link.gz").symlink_to(real)
    gzipper.process(source, tmp_path / "link.gz")
    assert (tmp_path / "link.gz").is_symlink()
    assert gzip.decompress(real.read_bytes()) == TEXT
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_relative_path_is_the_callers(
    gzipper: Accelerator, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gzipper.process(source.name, "out.gz")
    assert gzip.decompress(Path("out.gz").read_bytes()) == TEXT


def test_a_device_takes_the_output(gzipper: Accelerator, source: Path) -> None:
    assert gzipper.process(source, os.devnull).bytes_in == len(TEXT)


@pytest.mark.parametrize("shared_files", [None, False])
def test_nothing_stays_at_the_node(gzipper: Accelerator, conf: Path, source: Path, shared_files: bool | None) -> None:
    assert gzipper.instance is not None
    spool = conf.parent / "state" / "instances" / gzipper.instance.id / "spool"
    before = entries(spool)
    user = Accelerator("cast_gzip", config_file=conf, instance_id=gzipper.instance.id, shared_files=shared_files)
    user.start()
    user.process(source)
    user.close()
    assert entries(spool) == before


def test_progress_tells_each_phase(gzipper: Accelerator, conf: Path, source: Path, tmp_path: Path) -> None:
    seen: list[TransferProgress] = []
    gzipper.process(source, tmp_path / "out.gz", progress=seen.append)
    assert {progress.phase for progress in seen} == {"compute"}
    assert seen[-1].bytes_done == seen[-1].bytes_total == len(TEXT)
    seen.clear()
    result = gzipper.process(TEXT, progress=seen.append)
    assert list(dict.fromkeys(progress.phase for progress in seen)) == ["upload", "compute", "download"]
    assert seen[-1].bytes_done == seen[-1].bytes_total == result.bytes_out
    assert {progress.source for progress in seen} == {"bytes"}


def test_parameters_go_to_the_function(gzipper: Accelerator, source: Path, tmp_path: Path) -> None:
    small = gzipper.process(source, level=3).bytes_out
    assert small <= gzipper.process(source, level=0).bytes_out
    with pytest.raises(ParameterError, match="level"):
        gzipper.process(source, tmp_path / "out", level=99)
    with pytest.raises(ParameterError, match="did you mean 'level'"):
        gzipper.process(source, tmp_path / "out", levle=1)
    assert entries(tmp_path) == ["in put.dat"]


def test_configured_parameters_count_and_arguments_beat_them(conf: Path, gzipper: Accelerator, tmp_path: Path) -> None:
    assert gzipper.instance is not None
    other = tmp_path / "other.conf"
    other.write_text(conf.read_text() + '[process]\nparameters = {"app": {"specific": {"level": 99}}}\n')
    user = Accelerator("cast_gzip", config_file=other, instance_id=gzipper.instance.id)
    user.start()
    with pytest.raises(ParameterError, match="99"):
        user.process(b"x")
    assert user.process(b"x", level=1).bytes_in == 1
    user.close()


def test_configured_parameters_do_not_configure_a_ready_node_anew(tmp_path: Path, conf: Path) -> None:
    other = tmp_path / "other.conf"
    other.write_text(conf.read_text() + '[configuration]\nparameters = {"unknown": 1}\n')
    with Accelerator("cast_gzip", config_file=conf) as maker:
        maker.start()
        assert maker.instance is not None
        user = Accelerator("cast_gzip", config_file=other, instance_id=maker.instance.id)
        assert user.start().reused
        with pytest.raises(ParameterError, match="unknown"):
            user.start(unknown=2)
        user.close()


def mistakes(tmp_path: Path) -> dict[str, tuple[object, object, str]]:
    return {
        "missing input": (tmp_path / "none", tmp_path / "out", "No such file"),
        "folder as input": (tmp_path, tmp_path / "out", "it is a folder"),
        "no folder for the output": (tmp_path / "in put.dat", tmp_path / "none" / "out", "does not exist"),
        "folder as output": (tmp_path / "in put.dat", tmp_path, "it is a folder"),
        "the same file": (tmp_path / "in put.dat", f"{tmp_path}/./in put.dat", "the same file"),
    }


@pytest.mark.parametrize("mistake", list(mistakes(Path())))
def test_mistakes_are_found_before_anything_is_sent(
    mistake: str, gzipper: Accelerator, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").write_bytes(b"what the user had")
    src, dst, message = mistakes(tmp_path)[mistake]
    with pytest.raises(InputError, match=message) as caught:
        gzipper.process(src, dst)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert (tmp_path / "out").read_bytes() == b"what the user had"
    assert source.read_bytes() == TEXT
    assert entries(tmp_path) == ["in put.dat", "out"]


@pytest.mark.parametrize("shared_files", [None, False])
def test_a_folder_that_takes_no_files(
    gzipper: Accelerator, conf: Path, source: Path, shared_files: bool | None
) -> None:
    """Not even root makes a file in /proc."""
    assert gzipper.instance is not None
    user = Accelerator("cast_gzip", config_file=conf, instance_id=gzipper.instance.id, shared_files=shared_files)
    user.start()
    with pytest.raises(FileAccessError, match="cannot write '/proc/out'") as caught:
        user.process(source, "/proc/out")
    assert "\n" not in str(caught.value)
    user.close()


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Root may write everywhere: be an ordinary user for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_a_read_only_folder_or_file(gzipper: Accelerator) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").write_bytes(b"x")
        (folder / "out").touch(mode=0o444)
        (folder / "secret").touch(mode=0o000)
        folder.chmod(0o555)
        with nobody():
            with pytest.raises(FileAccessError, match="is read-only"):
                gzipper.process(folder / "in", folder / "new")
            with pytest.raises(FileAccessError, match="the file is read-only"):
                gzipper.process(folder / "in", folder / "out")
            with pytest.raises(FileAccessError, match="Permission denied"):
                gzipper.process(folder / "secret", os.devnull)
        folder.chmod(0o755)
        assert entries(folder) == ["in", "out", "secret"]


def test_a_wrong_type_is_a_type_error(gzipper: Accelerator) -> None:
    with pytest.raises(TypeError):
        gzipper.process(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dst: expected a path or an open binary file, not int"):
        gzipper.process(b"x", 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Accelerator("")
    with pytest.raises(TypeError):
        Accelerator("cast_gzip", regoin="x")  # type: ignore[call-arg]


def test_no_input_for_a_function_that_needs_one(gzipper: Accelerator) -> None:
    with pytest.raises(InputError, match="cast_gzip needs an input file"):
        gzipper.process()


def test_text_files_are_refused(gzipper: Accelerator, source: Path) -> None:
    with source.open() as text, pytest.raises(InputError, match="binary mode"):
        gzipper.process(text)  # type: ignore[arg-type]
    assert gzipper.process(b"the node goes on").bytes_in == 16


def test_submit(gzipper: Accelerator, tmp_path: Path) -> None:
    futures = [gzipper.process_submit(b"%d" % number, tmp_path / str(number)) for number in range(12)]
    for number, future in enumerate(futures):
        assert isinstance(future.result(timeout=60), ProcessResult)
        assert gzip.decompress((tmp_path / str(number)).read_bytes()) == b"%d" % number
    failing = gzipper.process_submit(tmp_path / "none")
    assert isinstance(failing.exception(timeout=60), FileAccessError)


def test_map_keeps_the_order_and_reads_its_sources_as_needed(gzipper: Accelerator) -> None:
    taken: list[int] = []

    def sources() -> object:
        for number in range(1000):
            taken.append(number)
            yield b"x" * number

    results = gzipper.process_map(sources(), workers=3)  # type: ignore[arg-type]
    sizes = [next(results).bytes_in for _ in range(6)]
    assert sizes == [0, 1, 2, 3, 4, 5]
    # As many as three requests hold, and those the results of which have come.
    assert len(taken) <= 3 * MOST_JOBS + 6 + 1
    results.close()  # type: ignore[attr-defined]


def test_map_to_a_folder_a_list_and_a_function(gzipper: Accelerator, tmp_path: Path) -> None:
    files = []
    for number in range(4):
        files.append(tmp_path / f"{number}.txt")
        files[-1].write_bytes(b"%d" % number)
    folder = tmp_path / "packed"
    folder.mkdir()
    assert [result.bytes_in for result in gzipper.process_map(files, folder)] == [1] * 4
    assert entries(folder) == ["0.txt", "1.txt", "2.txt", "3.txt"]
    list(gzipper.process_map(files, [tmp_path / f"{number}.gz" for number in range(4)]))
    list(gzipper.process_map(files, lambda path: f"{path}.z"))
    assert gzip.decompress((tmp_path / "3.gz").read_bytes()) == b"3"
    assert gzip.decompress((tmp_path / "3.txt.z").read_bytes()) == b"3"
    with pytest.raises(ValueError, match="shorter"):
        list(gzipper.process_map(files, [tmp_path / "only-one"]))
    with pytest.raises(ValueError, match="workers = 0"):
        gzipper.process_map(files, workers=0)


def test_map_never_replaces_one_output_by_another(gzipper: Accelerator, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same").write_bytes(name.encode())
    folder = tmp_path / "packed"
    folder.mkdir()
    with pytest.raises(InputError, match="two inputs are named 'same'"):
        list(gzipper.process_map([tmp_path / "a" / "same", tmp_path / "b" / "same"], folder))
    with pytest.raises(InputError, match="only an input with a name"):
        list(gzipper.process_map([b"x"], folder))


def test_map_raises_at_the_turn_of_what_failed(gzipper: Accelerator, tmp_path: Path) -> None:
    results = gzipper.process_map([b"a", tmp_path / "none", b"c"])
    assert next(results).bytes_in == 1
    with pytest.raises(FileAccessError):
        next(results)
    assert list(results) == []


def test_before_start_and_after_stop() -> None:
    accelerator = Accelerator("cast_gzip")
    assert accelerator.url is accelerator.instance is accelerator.configuration is None
    for call in (accelerator.process, accelerator.process_submit):
        with pytest.raises(StateError, match="before start: call start"):
            call(b"x")
    with pytest.raises(StateError):
        accelerator.process_map([b"x"])
    result = accelerator.stop()
    assert result.stop_mode is None
    assert "nothing" in str(result)


def test_unknown_function() -> None:
    with pytest.raises(FunctionUnknownError, match="did you mean 'cast_gzip'"):
        Accelerator("cast_gzpi").start()


def test_unknown_provider_and_instance() -> None:
    with pytest.raises(ProviderUnknownError, match="known: AWS, LOCAL"):
        Accelerator("cast_gzip", provider="Elsewhere").start()
    with pytest.raises(InstanceNotFoundError, match="local-00000000"):
        Accelerator("cast_gzip", instance_id="local-00000000").start()


def test_wrong_settings() -> None:
    with pytest.raises(ConfigurationError, match="stop_mode"):
        Accelerator("cast_gzip", stop_mode=7)
    with pytest.raises(ConfigurationError, match="stop_mode"):
        Accelerator("cast_gzip").start(stop_mode="later")
    with pytest.raises(ConfigurationError, match="no such file"):
        Accelerator("cast_gzip", config_file="none.conf")


def test_nothing_answers_at_the_address() -> None:
    accelerator = Accelerator("cast_gzip", instance_ip="127.0.0.1:1")
    with pytest.raises(NodeUnreachableError, match=r"nothing answers at http://127\.0\.0\.1:1"):
        accelerator.start()


def test_a_bare_address_with_and_without_its_token(gzipper: Accelerator, tmp_path: Path, home: Path) -> None:
    """A node of another user or machine: only its URL is known."""
    assert gzipper.url is not None
    assert gzipper.instance is not None
    with pytest.raises(AuthenticationError, match=r"asks for a token: .* ACCELERATOR_NODE_TOKEN"):
        Accelerator("cast_gzip", instance_ip=gzipper.url).start()
    conf = tmp_path / "with-token.conf"
    conf.write_text(f"[general]\nnode_token = {gzipper.instance.token}\n[csp]\nstop_mode = 0\n")
    user = Accelerator("cast_gzip", config_file=conf, instance_ip=gzipper.url.removeprefix("http://"))
    result = user.start()
    assert result.instance_id is None
    assert user.instance is None
    assert gzip.decompress(user.process(TEXT).data or b"") == TEXT
    with pytest.raises(InstanceError, match="known by its address alone"):
        user.stop(StopMode.TERM)
    user.close()
    with pytest.raises(InstanceError, match="known by its address alone"):
        Accelerator("cast_gzip", config_file=conf, instance_ip=gzipper.url).start(stop_mode="STOP")
    assert gzipper.process(b"still there").bytes_in == 11
    for shown in (repr(gzipper), repr(gzipper.instance), repr(user.settings)):
        assert gzipper.instance.token not in shown


def test_a_datafile_that_is_needed_missing_or_wrong(conf: Path, gzipper: Accelerator, tmp_path: Path) -> None:
    assert gzipper.instance is not None
    accelerator = Accelerator("axonerve_hyperfire", config_file=conf, instance_id=gzipper.instance.id)
    with pytest.raises(DatafileError, match="axonerve_hyperfire needs a datafile"):
        accelerator.start()
    with pytest.raises(FileAccessError, match="No such file"):
        accelerator.start(tmp_path / "none.csv")
    corpus = tmp_path / "corpus.csv"
    corpus.write_bytes(b"cat,dog\ncat,cow\n")
    with pytest.raises(DatafileError, match="2"):
        accelerator.start(corpus)
    corpus.write_bytes(b"cat,dog\n")
    accelerator.start(corpus)
    assert accelerator.process(b"a cat").data == b"a dog"
    accelerator.start(b"cat,cow\n")
    assert accelerator.process(b"a cat").data == b"a cow"
    accelerator.close()
    gzipper.start()
    assert gzip.decompress(gzipper.process(b"x").data or b"") == b"x"


def node_process(accelerator: Accelerator) -> psutil.Process:
    """The node of this accelerator, found by its state folder."""
    assert accelerator.instance is not None
    wanted = accelerator.instance.id
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "acceleratorAPI.node" in line and any(part.endswith(wanted) for part in line):
            return process
    raise AssertionError("no node")


def test_no_secret_on_the_command_line_and_a_closed_folder(gzipper: Accelerator, conf: Path) -> None:
    assert gzipper.instance is not None
    assert gzipper.instance.token not in " ".join(node_process(gzipper).cmdline())
    folder = conf.parent / "state" / "instances" / gzipper.instance.id
    assert folder.stat().st_mode & 0o777 == 0o700
    # The token is the client's; the node's own folder has its digest.
    token = conf.parent / "state" / "tokens" / gzipper.instance.id
    assert token.read_text() == gzipper.instance.token
    assert token.stat().st_mode & 0o777 == (folder / "tokens.json").stat().st_mode & 0o777 == 0o600
    for path in folder.iterdir():
        assert not path.is_file() or gzipper.instance.token.encode() not in path.read_bytes(), path
    assert (folder / "node.log").stat().st_mode & 0o777 == 0o600
    assert gzipper.instance.token not in (folder / "node.log").read_text()


def test_a_worker_killed_in_mid_job_fails_that_job_alone(gzipper: Accelerator, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(64 << 30)
    (tmp_path / "out").write_bytes(b"what the user had")
    killed = threading.Event()

    def kill(progress: TransferProgress) -> None:
        if progress.bytes_done and not killed.is_set():
            killed.set()
            for worker in node_process(gzipper).children():
                worker.kill()

    with pytest.raises(WorkerCrashedError) as caught:
        gzipper.process(big, tmp_path / "out", progress=kill)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "out").read_bytes() == b"what the user had"
    assert entries(tmp_path) == ["big", "out"]
    assert gzip.decompress(gzipper.process(b"the next one").data or b"") == b"the next one"


def test_a_dead_node_is_one_clear_line(conf: Path, source: Path, tmp_path: Path) -> None:
    with Accelerator("cast_gzip", config_file=conf) as accelerator:
        accelerator.start()
        process = node_process(accelerator)
        for member in [*process.children(recursive=True), process]:
            member.kill()
        with pytest.raises(AcceleratorError) as caught:
            accelerator.process(source, tmp_path / "out")
        assert f"the node's process {process.pid} has ended, its log is" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert entries(tmp_path) == ["in put.dat"]


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """What no test waits for."""
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    return path


def test_stop_in_another_thread_cancels_what_runs(conf: Path, big: Path, tmp_path: Path) -> None:
    accelerator = Accelerator("cast_gzip", config_file=conf)
    accelerator.start()
    stopper = threading.Thread(target=accelerator.stop)

    def stop(progress: TransferProgress) -> None:
        if progress.bytes_done and stopper.ident is None:
            stopper.start()

    with pytest.raises(JobCancelledError) as caught:
        accelerator.process(big, tmp_path / "out", progress=stop)
    assert "\n" not in str(caught.value)
    stopper.join()
    assert entries(tmp_path) == ["big"]


def test_an_error_in_the_block_cancels_what_was_submitted(conf: Path, big: Path, tmp_path: Path) -> None:
    def fail_in_the_block() -> None:
        with Accelerator("cast_gzip", config_file=conf) as accelerator:
            accelerator.start()
            futures.extend(accelerator.process_submit(big, tmp_path / f"out{number}") for number in range(12))
            raise KeyError("of the program")

    futures: list[Future[ProcessResult]] = []
    with pytest.raises(KeyError):
        fail_in_the_block()
    for future in futures:
        assert future.cancelled() or isinstance(future.exception(timeout=60), AcceleratorError)
    assert entries(tmp_path) == ["big"]


def test_a_closed_map_cancels_what_runs(gzipper: Accelerator, big: Path, tmp_path: Path) -> None:
    results = gzipper.process_map([b"x", big, big], [tmp_path / name for name in "abc"])
    assert next(results).bytes_in == 1
    results.close()  # type: ignore[attr-defined]
    assert entries(tmp_path) == ["a", "big"]
    assert gzipper.process(b"x").bytes_in == 1


def test_a_forked_child_may_use_the_accelerator(gzipper: Accelerator) -> None:
    """On connections of its own: those of the parent stay usable."""
    gzipper.process(b"open a connection")
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            code = 0 if gzipper.process(b"child").bytes_in == 5 else 2
        os._exit(code)
    sizes = [gzipper.process(b"x" * size).bytes_in for size in range(20)]
    assert sizes == list(range(20))
    assert os.waitpid(child, 0)[1] == 0
