"""Processes of this machine, known by pid and start time, so that a recycled pid is never touched."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass

import psutil

# The start time is computed from the boot time, which the kernel may correct by a fraction of a second.
_SAME_START_S = 1.0
_POLL_S = 0.02
# Only a process stuck in the kernel (a dead network disk) outlives SIGKILL for long.
_KILLED_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process: ``create_time`` is in seconds since the epoch, as psutil gives it."""

    pid: int
    create_time: float

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The process that has this pid now, if any."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None


def find(process: ProcessId) -> psutil.Process | None:
    """The process, if it runs. One that has ended and only waits for its parent does not count."""
    try:
        running = psutil.Process(process.pid)
        if abs(running.create_time() - process.create_time) > _SAME_START_S:
            return None
        if _is_zombie(running):
            return None
    except psutil.NoSuchProcess:
        return None
    return running


def wait(process: ProcessId, timeout_s: float) -> bool:
    """Whether the process has ended, at the latest after ``timeout_s`` seconds."""
    deadline = time.monotonic() + timeout_s
    while find(process) is not None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def end_tree(process: ProcessId, grace_s: float) -> None:
    """End a session leader and all it started: asked first, killed after ``grace_s`` seconds."""
    leader = find(process)
    tree = _tree(process, leader)
    if leader is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            leader.terminate()
        wait(process, grace_s)
        tree += [p for p in _tree(process, find(process)) if p not in tree]
    for member in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    deadline = time.monotonic() + _KILLED_WITHIN_S
    while left := [member for member in tree if not _ended(member)]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes do not end: {', '.join(str(member.pid) for member in left)}")
        time.sleep(_POLL_S)


def _ended(process: psutil.Process) -> bool:
    """Gone, or a zombie: in a container there may be nobody who ever reaps it."""
    try:
        return not process.is_running() or _is_zombie(process)
    except psutil.NoSuchProcess:
        return True


def _tree(process: ProcessId, leader: psutil.Process | None) -> list[psutil.Process]:
    """The leader, what descends from it, and what of its session outlived it."""
    members: dict[int, psutil.Process] = {}
    if leader is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            members = {child.pid: child for child in leader.children(recursive=True)}
        members[leader.pid] = leader
    elif (holder := ProcessId.of(process.pid)) and abs(holder.create_time - process.create_time) > _SAME_START_S:
        # Another process has the pid: the kernel gives a pid away only when no session of that number is left.
        return []
    for candidate in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if (
                candidate.pid not in members
                and os.getsid(candidate.pid) == process.pid
                and candidate.create_time() >= process.create_time - _SAME_START_S
            ):
                members[candidate.pid] = candidate
    return list(members.values())


def _is_zombie(process: psutil.Process) -> bool:
    """Whether nothing of the process runs any more; a child of ours is reaped.

    A process whose first thread alone has ended also looks like a zombie, but cannot be reaped yet.
    """
    if process.status() != psutil.STATUS_ZOMBIE:
        return False
    try:
        return os.waitpid(process.pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True
