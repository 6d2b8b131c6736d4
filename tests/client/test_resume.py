"""A client that was killed, and the same call again: it goes on where it was, or begins anew for a good reason."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_proxy import Fault, FaultProxy

from acceleratorAPI import Accelerator
from acceleratorAPI.client import connection, retry
from acceleratorAPI.client.keep import Keep
from acceleratorAPI.errors import NodeUnreachableError

SIZE = 40 << 20
RECORD, PART = ".out.gz.acceleratorapi-job", ".out.gz.acceleratorapi-part"

PROGRAM = """
import os, signal, sys
from acceleratorAPI import Accelerator
from acceleratorAPI.client.keep import Keep

def die(*arguments, **keywords):
    os.kill(os.getpid(), signal.SIGKILL)

{more}
url, source, target = sys.argv[1:]
accelerator = Accelerator("cast_gzip", instance_ip=url)
accelerator.start()
accelerator.process(source, target)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.write_bytes(random.Random(4).randbytes(SIZE))
    return path


@pytest.fixture
def proxy(gzipper: Accelerator, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """Before the node of ``gzipper``."""
    assert gzipper.url is not None
    assert gzipper.instance is not None
    monkeypatch.setenv("ACCELERATOR_NODE_TOKEN", gzipper.instance.token)
    host, _, port = gzipper.url.removeprefix("http://").partition(":")
    with FaultProxy((host, int(port))) as found:
        yield found


Run = Callable[..., None]


@pytest.fixture
def killed(proxy: FaultProxy, source: Path, tmp_path: Path) -> Run:
    """Run the program and kill it when ``so_far``, or wait until it has killed itself."""

    def run(more: str = "", so_far: Callable[[], bool] | None = None) -> None:
        command = [sys.executable, "-c", PROGRAM.format(more=more), proxy.url, str(source), str(tmp_path / "out.gz")]
        with subprocess.Popen(command) as child:
            if so_far is not None:
                while not so_far() and child.poll() is None:
                    time.sleep(0.01)
                child.kill()
            assert child.wait(60) == -signal.SIGKILL

    return run


def finished(proxy: FaultProxy, source: Path, tmp_path: Path) -> tuple[int, int]:
    """The same call in this process, which must be right; bytes up and down it needed."""
    proxy.rate_bytes_s = None
    before = dict(proxy.passed)
    user = Accelerator("cast_gzip", instance_ip=proxy.url)
    user.start()
    result = user.process(source, tmp_path / "out.gz")
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == source.read_bytes()
    assert result.bytes_in == source.stat().st_size
    assert sorted(os.listdir(tmp_path)) == ["in", "out.gz"]
    return proxy.passed[True] - before[True], proxy.passed[False] - before[False]


def test_killed_while_it_sends(killed: Run, proxy: FaultProxy, source: Path, tmp_path: Path) -> None:
    proxy.rate_bytes_s = 40e6
    killed(so_far=lambda: proxy.passed[True] > SIZE // 2)
    assert sorted(os.listdir(tmp_path)) == [RECORD, PART, "in"]
    assert (tmp_path / RECORD).stat().st_mode & 0o777 == 0o600
    up, _ = finished(proxy, source, tmp_path)
    assert up < SIZE * 3 // 4


def test_killed_while_it_fetches(killed: Run, proxy: FaultProxy, source: Path, tmp_path: Path) -> None:
    proxy.rate_bytes_s = 80e6
    killed(so_far=lambda: proxy.passed[False] > SIZE * 2 // 3)
    up, down = finished(proxy, source, tmp_path)
    assert down < SIZE * 2 // 3
    assert up < SIZE


@pytest.mark.parametrize(
    ("what", "again"),
    [
        ("Upload.begin", False),  # nothing is known of it yet
        ("NodeClient.begin_job", True),  # the upload, but no job
        ("Resumption.note_job", True),  # the job, but not its number
        ("Job._follow", True),  # all is sent and fetched
        ("Keep.finish", True),  # before the output has its name
        ("Keep.remove", False),  # after
    ],
)
def test_killed_at(what: str, again: bool, killed: Run, proxy: FaultProxy, source: Path, tmp_path: Path) -> None:
    kind, name = what.split(".")
    module = {"Upload": "upload", "NodeClient": "node", "Resumption": "resume", "Job": "job", "Keep": "keep"}[kind]
    killed(f"from acceleratorAPI.client.{module} import {kind}\n{kind}.{name} = die")
    _, down = finished(proxy, source, tmp_path)
    if what == "Keep.finish":
        # All of it was here already.
        assert down < SIZE // 2


def test_an_input_that_changed_begins_anew(
    killed: Run, proxy: FaultProxy, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.rate_bytes_s = 40e6
    killed(so_far=lambda: proxy.passed[True] > SIZE // 2)
    source.write_bytes(random.Random(5).randbytes(SIZE))
    up, _ = finished(proxy, source, tmp_path)
    assert up >= SIZE
    assert "the input has changed" in caplog.text


def test_an_input_that_only_looks_the_same_begins_anew(
    killed: Run, proxy: FaultProxy, source: Path, tmp_path: Path
) -> None:
    proxy.rate_bytes_s = 40e6
    killed(so_far=lambda: proxy.passed[True] > SIZE // 2)
    status = source.stat()
    with source.open("r+b") as file:
        file.write(b"other bytes")
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    up, _ = finished(proxy, source, tmp_path)
    assert up >= SIZE


@pytest.mark.parametrize("content", [b"", b"{}", b'{"call": 7}', bytes(range(256))], ids=range(4))
def test_a_record_that_cannot_be_read_begins_anew(
    content: bytes, proxy: FaultProxy, source: Path, tmp_path: Path
) -> None:
    (tmp_path / RECORD).write_bytes(content)
    (tmp_path / PART).write_bytes(b"of something else")
    finished(proxy, source, tmp_path)


def test_a_node_that_is_gone_for_long_is_gone_on_with(
    proxy: FaultProxy, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PIECE_IDLE_S", 1.0)
    monkeypatch.setattr(retry.Backoff.__init__, "__defaults__", (lambda: False, 0.5))
    user = Accelerator("cast_gzip", instance_ip=proxy.url)
    user.start()
    before = proxy.passed[True]
    proxy.faults = [Fault("rst", before + SIZE // 2 + n) for n in range(50)]
    with pytest.raises(NodeUnreachableError, match="the same call goes on from there"):
        user.process(source, tmp_path / "out.gz")
    assert RECORD in os.listdir(tmp_path)
    proxy.faults = []
    up, _ = finished(proxy, source, tmp_path)
    assert up < SIZE * 3 // 4


def test_an_interrupt_leaves_nothing(proxy: FaultProxy, source: Path, tmp_path: Path) -> None:
    def interrupt(progress: object) -> None:
        if proxy.passed[True] > SIZE // 2:
            raise KeyboardInterrupt

    proxy.rate_bytes_s = 80e6
    user = Accelerator("cast_gzip", instance_ip=proxy.url)
    user.start()
    with pytest.raises(KeyboardInterrupt):
        user.process(source, tmp_path / "out.gz", progress=interrupt)
    assert os.listdir(tmp_path) == ["in"]


def test_no_secret_is_kept(proxy: FaultProxy, gzipper: Accelerator, killed: Run, source: Path, tmp_path: Path) -> None:
    proxy.rate_bytes_s = 40e6
    killed(so_far=lambda: proxy.passed[True] > SIZE // 2)
    text = (tmp_path / RECORD).read_text()
    assert gzipper.instance is not None
    assert gzipper.instance.token not in text
    assert json.loads(text)["upload"]
    finished(proxy, source, tmp_path)


def test_two_at_once_do_not_share_a_part(
    proxy: FaultProxy, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Keep | None] = []
    original = Keep.open.__func__  # type: ignore[attr-defined]

    def twice(kind: type[Keep], *arguments: object) -> Keep | None:
        found.append(original(kind, *arguments))
        found.append(original(kind, *arguments))
        return found[0]

    monkeypatch.setattr(Keep, "open", classmethod(twice))
    finished(proxy, source, tmp_path)
    assert found[0] is not None
    assert found[1] is None
