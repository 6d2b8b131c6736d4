"""The lease: the node lives only as long as its owner, a process of the same machine.

Watched from a thread of its own, so that neither a start-up, a busy event loop nor a stuck disk delays the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

import psutil

from acceleratorAPI.errors import InputError
from acceleratorAPI.protocol.records import Lease

POLL_INTERVAL_S = 1.0


class LeaseWatch:
    """Calls ``end(at_end)`` once, from its thread, when the owner is gone."""

    def __init__(self, lease: Lease, end: Callable[[Literal["terminate", "stop"]], None]) -> None:
        """Raises:
        InputError: no such process.
        """
        self._end = end
        self._change = threading.Lock()
        self._owner = _process(lease.owner_pid)
        self._lease = lease
        threading.Thread(target=self._watch, name="lease", daemon=True).start()

    @property
    def lease(self) -> Lease:
        """The lease in force."""
        return self._lease

    def replace(self, lease: Lease) -> None:
        """Put ``lease`` in force; its owner is noted by process id and start time.

        Raises:
            InputError: no such process.
        """
        owner = _process(lease.owner_pid)
        with self._change:
            self._owner, self._lease = owner, lease

    def _watch(self) -> None:
        pause = threading.Event()
        while True:
            with self._change:
                gone = self._owner is not None and not _alive(self._owner)
                at_end = self._lease.at_end
            if gone:
                self._end(at_end)
                return
            pause.wait(POLL_INTERVAL_S)


def _process(pid: int | None) -> psutil.Process | None:
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
    except (psutil.Error, ValueError, OverflowError):
        process = None
    if process is None or not _alive(process):
        raise InputError(f"owner_pid = {pid}: no such process on the node's machine")
    return process


def _alive(process: psutil.Process) -> bool:
    """Whether it still runs; a number taken over by another process and a zombie do not count."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
