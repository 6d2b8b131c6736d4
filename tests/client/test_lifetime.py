"""However a client ends, what it made ends with it: scripts in processes of their own, ended in every way."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from instances import list_instances

from acceleratorAPI import Accelerator
from acceleratorAPI.protocol.stop import StopMode

# What the node is allowed after its client was killed.
WITHIN_S = 30.0

PRELUDE = """
import os, signal, sys, time
from acceleratorAPI import Accelerator
from acceleratorAPI.acceleratorAPI import *

def say(text):
    os.write(1, f"{text}\\n".encode())  # print cannot be called again by a handler

accelerator = Accelerator("cast_gzip")
"""


class Client:
    """A script that uses an accelerator, in a folder of its own."""

    def __init__(self, folder: Path, code: str) -> None:
        self.folder = folder
        self.child = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
        )

    def hear(self, text: str) -> None:
        """Wait until the script has said ``text``."""
        assert self.child.stdout is not None
        for line in self.child.stdout:
            if line.strip() == text.encode():
                return
        assert self.child.stderr is not None
        raise AssertionError(self.child.stderr.read().decode())

    def end(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Send a signal, if any, and wait: the exit code and what was said on stderr."""
        if number is not None:
            self.child.send_signal(number)
        _, errors = self.child.communicate(timeout=60)
        return self.child.returncode, errors.decode()


@pytest.fixture
def client(tmp_path: Path, home: Path) -> Iterator[Callable[[str], Client]]:
    clients: list[Client] = []

    def start(code: str) -> Client:
        clients.append(Client(tmp_path, code))
        return clients[-1]

    yield start
    for used in clients:
        used.child.kill()
        used.child.communicate()


def nodes(home: Path) -> list[psutil.Process]:
    """All processes of nodes below ``home``, workers included."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if "acceleratorAPI.node" in line and any(part.startswith(str(home)) for part in line):
                found += [process, *process.children(recursive=True)]
    return found


def folders(home: Path) -> list[str]:
    try:
        return os.listdir(home / "state" / "acceleratorapi" / "instances")
    except FileNotFoundError:
        return []


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    left = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
    return left


def nothing_is_left(home: Path, processes: list[psutil.Process]) -> None:
    until(lambda: not alive(processes) and not nodes(home), "a process is left")
    until(lambda: folders(home) == [], "a folder is left")


BIG = """
with open("big", "wb") as file:
    file.truncate(1 << 40)
accelerator.start()
def tell(progress):
    if progress.bytes_done:
        say("processing")
accelerator.process("big", "out", progress=tell{more})
"""

PHASES = {
    "uploading a datafile": ("os.mkfifo('fifo')\nsay('starting')\naccelerator.start('fifo')\n", "starting"),
    "uploading": ("accelerator.start()\nos.mkfifo('fifo')\nsay('uploading')\naccelerator.process('fifo', 'out')\n", ""),
    "processing": (BIG.format(more=""), "processing"),
    "idle": ("accelerator.start()\nsay('idle')\ntime.sleep(600)\n", "idle"),
}


@pytest.mark.parametrize("phase", PHASES)
def test_killed(phase: str, client: Callable[[str], Client], home: Path, tmp_path: Path) -> None:
    code, word = PHASES[phase]
    user = client(code)
    user.hear(word or phase)
    if phase.startswith("uploading"):
        with (tmp_path / "fifo").open("wb") as fifo:
            fifo.write(b"x" * 5_000_000)
            running = nodes(home)
            user.end(signal.SIGKILL)
    else:
        running = nodes(home)
        user.end(signal.SIGKILL)
    assert running
    nothing_is_left(home, running)
    assert not (tmp_path / "out").exists()
    assert sorted(name for name in os.listdir(tmp_path) if name not in ("big", "fifo")) == []


@pytest.mark.parametrize("pause_s", [0.0, 0.05, 0.1, 0.2, 0.4, 0.8])
def test_killed_while_starting(pause_s: float, client: Callable[[str], Client], home: Path) -> None:
    user = client("say('go')\naccelerator.start()\nsay('ready')\ntime.sleep(600)\n")
    user.hear("go")
    until(lambda: any(not name.startswith(".") for name in folders(home)), "no folder appears")
    time.sleep(pause_s)
    user.end(signal.SIGKILL)
    until(lambda: not nodes(home), "a process is left")
    # A folder whose node had not been started when its client was killed is removed by the next look at it.
    list_instances()
    until(lambda: folders(home) == [], "a folder is left")


@pytest.mark.parametrize("more", ["", ", level=3"])
def test_interrupted(more: str, client: Callable[[str], Client], home: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"what the user had")
    user = client(BIG.format(more=more))
    user.hear("processing")
    running = nodes(home)
    code, errors = user.end(signal.SIGINT)
    assert code == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not alive(running)
    assert folders(home) == []
    assert sorted(os.listdir(tmp_path)) == ["big", "out"]
    assert (tmp_path / "out").read_bytes() == b"what the user had"


def test_interrupted_and_going_on(client: Callable[[str], Client], home: Path, tmp_path: Path) -> None:
    """A program may catch Ctrl-C: the job is gone, the accelerator works on."""
    code = BIG.format(more="").replace("accelerator.process", "try:\n    accelerator.process")
    code += "except KeyboardInterrupt:\n    say(accelerator.process(b'x').bytes_in)\n"
    user = client(code)
    user.hear("processing")
    user.child.send_signal(signal.SIGINT)
    user.hear("1")
    assert user.end() == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["big"]
    assert folders(home) == []
    assert nodes(home) == []


@pytest.mark.parametrize("call", ["process('big', 'out')", "process_submit('big', 'out').result()"])
def test_an_interrupted_job_is_cancelled_though_nobody_watches_it(
    call: str, client: Callable[[str], Client], home: Path, tmp_path: Path
) -> None:
    user = client(f"""
import threading
from acceleratorAPI.client.instance import end_instance
from acceleratorAPI.protocol.stop import StopMode
with open("big", "wb") as file:
    file.truncate(1 << 40)
started = accelerator.start(stop_mode="keep")
node = accelerator._session.node
def watch():
    while not node.status().jobs.running:
        time.sleep(0.02)
    say("processing")
threading.Thread(target=watch).start()
try:
    with accelerator:
        accelerator.{call}
except KeyboardInterrupt:
    while node.status().jobs.running:
        time.sleep(0.02)
    say(node.status().jobs.cancelled)
    end_instance(started.instance_id, StopMode.TERM)
""")
    user.hear("processing")
    user.child.send_signal(signal.SIGINT)
    user.hear("1")
    assert user.end() == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["big"]
    assert folders(home) == []
    assert nodes(home) == []


@pytest.mark.parametrize("phase", ["processing", "idle"])
def test_terminated(phase: str, client: Callable[[str], Client], home: Path, tmp_path: Path) -> None:
    user = client(PHASES[phase][0])
    user.hear(phase)
    running = nodes(home)
    code, errors = user.end(signal.SIGTERM)
    assert (code, errors) == (-signal.SIGTERM, "")
    assert not alive(running)
    assert folders(home) == []
    assert not (tmp_path / "out").exists()


def test_a_handler_of_the_program_is_called_and_comes_back(client: Callable[[str], Client], home: Path) -> None:
    code = """
def handler(number, frame):
    say("handled")
    sys.exit(7)
signal.signal(signal.SIGTERM, handler)
other = Accelerator("cast_gzip")
other.start()
other.stop()
assert signal.getsignal(signal.SIGTERM) is handler
accelerator.start()
assert signal.getsignal(signal.SIGTERM) is not handler
say("ready")
time.sleep(600)
"""
    user = client(code)
    user.hear("ready")
    user.child.send_signal(signal.SIGTERM)
    user.hear("handled")
    assert user.end() == (7, "")
    assert nodes(home) == []
    assert folders(home) == []


ENDINGS = {
    "the script ends": "accelerator.start()\n",
    "the script fails": "accelerator.start()\nraise SystemExit(0)\n",
    "the object is dropped": "accelerator.start()\naccelerator = None\nfrom acceleratorAPI.config import"
    " Configuration\nfrom acceleratorAPI.providers.registry import get_provider\n"
    "assert get_provider('local', Configuration.load()).instances() == []\n",
    "with": "with accelerator:\n    accelerator.start()\n",
    "historical": "old = AcceleratorClass('cast_gzip')\nassert old.start()[0]\n",
    "in a thread": "import threading\nthread = threading.Thread(target=accelerator.start)\n"
    "thread.start()\nthread.join()\n",
    "a submitted job": "accelerator.start()\nfuture = accelerator.process_submit(b'x', 'out')\n",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_without_stop(ending: str, client: Callable[[str], Client], home: Path, tmp_path: Path) -> None:
    user = client(ENDINGS[ending])
    assert user.end() == (0, "")
    assert nodes(home) == []
    assert folders(home) == []
    assert (tmp_path / "out").exists() == (ending == "a submitted job")


def test_a_failed_start_leaves_nothing(client: Callable[[str], Client], home: Path) -> None:
    code = """
try:
    Accelerator("axonerve_hyperfire").start()
except Exception as error:
    say(type(error).__name__)
"""
    user = client(code)
    user.hear("DatafileError")
    assert nodes(home) == []
    assert folders(home) == []
    assert user.end() == (0, "")


def test_a_forked_child_ends_nothing(client: Callable[[str], Client], home: Path) -> None:
    code = """
accelerator.start()
child = os.fork()
if child == 0:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
child = os.fork()
if child == 0:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)
assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
assert accelerator.process(b"x").bytes_in == 1
"""
    assert client(code).end() == (0, "")
    assert nodes(home) == []


def test_a_forked_child_submits_jobs_of_its_own(client: Callable[[str], Client], home: Path) -> None:
    code = """
accelerator.start()
accelerator.process_submit(b"first").result(60)
read, write = os.pipe()
running = accelerator.process_submit(open(read, "rb"))
child = os.fork()
if child == 0:
    os.close(write)
    with accelerator:
        assert accelerator.process_submit(b"second").result(60).bytes_in == 6
        sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
os.write(write, b"third")
os.close(write)
assert running.result(60).bytes_in == 5
"""
    assert client(code).end() == (0, "")
    assert nodes(home) == []


def test_kept_survives_its_client(client: Callable[[str], Client], home: Path) -> None:
    user = client("say(accelerator.start(stop_mode='keep').instance_id and 'kept')\ntime.sleep(600)\n")
    user.hear("kept")
    user.end(signal.SIGKILL)
    time.sleep(3)  # The lease is looked at every second.
    (instance,) = list_instances()
    assert instance.status == "running"
    assert instance.stop_mode is StopMode.KEEP
    again = Accelerator("cast_gzip", instance_id=instance.id)
    assert again.start().reused
    assert again.process(b"x").bytes_in == 1
    again.stop("TERM")
    assert nodes(home) == []
    assert folders(home) == []


def test_stopped_by_its_clients_death_and_started_again(client: Callable[[str], Client], home: Path) -> None:
    user = client("accelerator.start(stop_mode=STOP)\nsay('ready')\ntime.sleep(600)\n")
    user.hear("ready")
    user.end(signal.SIGKILL)
    # A process on its way out has no command line any more, and still counts as one for a moment.
    until(lambda: [found.status for found in list_instances()] == ["stopped"], "it is not stopped")
    (instance,) = list_instances()
    with Accelerator("cast_gzip", instance_id=instance.id, stop_mode="TERM") as again:
        assert again.start().instance_id == instance.id
        assert again.process(b"x").bytes_in == 1
    assert folders(home) == []


def test_who_takes_over_a_kept_instance_is_its_owner(client: Callable[[str], Client], home: Path) -> None:
    first = Accelerator("cast_gzip", stop_mode="KEEP")
    instance = first.start().instance_id
    first.close()
    user = client(f"Accelerator('cast_gzip', instance_id={instance!r}).start(stop_mode=TERM)\n")
    # The object is dropped at once, and with it the instance.
    assert user.end() == (0, "")
    assert folders(home) == []
    second = Accelerator("cast_gzip", stop_mode="KEEP")
    instance = second.start().instance_id
    second.close()
    code = f"own = Accelerator('cast_gzip', instance_id={instance!r})\nown.start(stop_mode=TERM)\n"
    user = client(code + "say('mine')\ntime.sleep(600)\n")
    user.hear("mine")
    running = nodes(home)
    user.end(signal.SIGKILL)
    nothing_is_left(home, running)
