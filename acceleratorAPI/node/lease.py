"""The lease: the node lives only as long as its owner, a process of the same machine, or its machine as long as asked.

An owner is watched from a thread of its own, so that neither a start-up, a busy event loop nor a stuck disk delays the
end. A machine's time is only written down here: what ends the machine is not the node.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psutil

from acceleratorAPI.errors import InputError
from acceleratorAPI.protocol.records import Lease

POLL_INTERVAL_S = 1.0
_LONGEST_NOTICE = 300

log = logging.getLogger(__name__)


class LeaseWatch:
    """Calls ``end(at_end)`` once, from its thread, when the owner is gone.

    Attributes:
        notice: why the machine is about to be taken away, as ``notice_file`` says it; empty as long as it is not.
    """

    def __init__(
        self,
        lease: Lease,
        end: Callable[[Literal["terminate", "stop"]], None],
        file: MachineLease | None = None,
        notice_file: Path | None = None,
    ) -> None:
        """Args:
            lease: in force from now on.
            end: called when its owner is gone.
            file: where a lease of the machine is written; ``None``: there is none.
            notice_file: appears when the machine is about to be taken away, and says why.

        Raises:
            InputError: no such process.
        """
        self._end = end
        self._file = file
        self._notice_file = notice_file
        self.notice = ""
        self._change = threading.Lock()
        self._owner = _process(lease.owner_pid)
        self._lease = lease
        threading.Thread(target=self._watch, name="lease", daemon=True).start()

    @property
    def lease(self) -> Lease:
        """The lease in force."""
        left_s = self._file.left_s() if self._file else None
        return self._lease.model_copy(update={"seconds": left_s, "notice": self.notice})

    def replace(self, lease: Lease) -> None:
        """Put ``lease`` in force; its owner is noted by process id and start time.

        Raises:
            InputError: no such process, or no machine's life hangs on this node.
        """
        owner = _process(lease.owner_pid)
        if lease.seconds is not None:
            if self._file is None:
                raise InputError("seconds: this node ends no machine (it was started without --lease-file)")
            self._file.write(lease.seconds, extend=lease.extend)
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
            if self._notice_file is not None and not self.notice:
                self.notice = _first_line(self._notice_file)
                if self.notice:
                    log.warning("%s: no more work is taken", self.notice)
            pause.wait(POLL_INTERVAL_S)


class MachineLease:
    """The file that says until when this machine lives, in seconds since its boot.

    Those count suspended time too and no change of the clock. A guard that is no part of the node reads the file.
    """

    def __init__(self, path: Path) -> None:
        """Take the file at ``path``, in a folder the node may write to; it need not exist."""
        self._path = path
        self._turn = threading.Lock()

    def write(self, seconds: float, *, extend: bool) -> None:
        """Let the machine live ``seconds`` from now."""
        with self._turn:
            until = math.ceil(_uptime_s() + seconds)
            if extend:
                until = max(until, self._until() or 0)
            beside = self._path.with_name(f".{self._path.name}")
            beside.write_text(f"{until}\n", encoding="ascii")
            os.replace(beside, self._path)

    def left_s(self) -> float | None:
        """How long it still lives; ``None`` when no lease was given yet."""
        until = self._until()
        return None if until is None else max(0.0, until - _uptime_s())

    def _until(self) -> int | None:
        try:
            return int(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None


def _first_line(path: Path) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return " ".join(file.readline(_LONGEST_NOTICE).split())
    except OSError:
        return ""


def _uptime_s() -> float:
    # The guard is a shell script, and reads the same.
    return float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])


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
