"""Processes are ended whole, and only those that were meant."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from acceleratorAPI.providers.processes import ProcessId, end_tree, find

SLEEP = "import time; time.sleep(60)"


def started(code: str) -> tuple[subprocess.Popen[bytes], ProcessId]:
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE)
    process = ProcessId.of(child.pid)
    assert process is not None
    return child, process


def close(child: subprocess.Popen[bytes]) -> None:
    assert child.stdout is not None
    child.stdout.close()
    child.returncode = 0  # end_tree has taken the exit status


def test_the_whole_tree_goes_even_what_ignores_being_asked() -> None:
    code = (
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    child, process = started(code)
    assert child.stdout is not None
    grandchild = int(child.stdout.readline())
    end_tree(process, grace_s=0.2)
    assert find(process) is None
    assert not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE
    close(child)


def test_what_outlived_its_leader_goes_too() -> None:
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}], stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
    )
    child, process = started(code)
    assert child.stdout is not None
    orphan = ProcessId.of(int(child.stdout.readline()))
    assert orphan is not None
    child.wait()
    assert find(orphan) is not None
    end_tree(process, grace_s=0.2)
    assert find(orphan) is None
    close(child)


def test_a_recycled_pid_is_not_touched() -> None:
    child, process = started(SLEEP)
    end_tree(ProcessId(process.pid, process.create_time - 100), grace_s=0.2)
    assert find(ProcessId(process.pid, process.create_time - 100)) is None
    time.sleep(0.05)
    assert find(process) is not None
    end_tree(process, grace_s=5)
    close(child)


def test_a_zombie_has_ended() -> None:
    child, process = started("pass")
    deadline = time.monotonic() + 20
    while find(process) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    close(child)


def test_no_process_no_id() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert ProcessId.of(child.pid) is None
    end_tree(ProcessId(child.pid, time.time()), grace_s=0.1)
