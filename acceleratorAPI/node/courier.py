"""Brings a job's input from its URL into the spool, and its output from the spool to its URL.

Each way is one thread, outside of the worker processes, which need no network. The whole input is there before the
job runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from acceleratorAPI.errors import AcceleratorError, FileAccessError, JobCancelledError
from acceleratorAPI.node.disk import disk_error
from acceleratorAPI.node.spool import Spool
from acceleratorAPI.node.ssrf import UrlPolicy
from acceleratorAPI.remote import access
from acceleratorAPI.remote.breaker import Breaker
from acceleratorAPI.remote.names import Remote, without_secrets

log = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
TRANSFERS = 8


@dataclass(frozen=True, slots=True)
class Ends:
    """What of a job is remote, checked against the policy.

    Attributes:
        source: of the input, ``None`` for one that is here.
        target: of the output, ``None`` for one that stays here.
    """

    source: Remote | None = None
    target: Remote | None = None


class Couriers:
    """Makes couriers, of whom a few travel at a time."""

    def __init__(self, policy: UrlPolicy, spool: Spool) -> None:
        self.policy = policy
        self.spool = spool
        self.turns = asyncio.Semaphore(TRANSFERS)

    def ends(self, source: str | None, target: str | None) -> Ends:
        """The ends that a request names by URL.

        Raises:
            InputError: a URL is malformed.
            PermissionDeniedError: this node does not open it.
        """
        admit = self.policy.admit
        return Ends(admit(source) if source else None, admit(target) if target else None)

    def courier(self, ends: Ends) -> Courier | None:
        """Who carries; ``None`` when nothing is to be carried."""
        return Courier(ends, self) if ends.source or ends.target else None


class Courier:
    """Carries one job's files.

    Attributes:
        bytes_fetched: of the input so far, ``None`` when it is not remote.
        bytes_total: of the input, when the server tells.
        bytes_delivered: of the output so far, ``None`` when its target is not remote.
    """

    def __init__(self, ends: Ends, couriers: Couriers) -> None:
        self._ends = ends
        self._couriers = couriers
        self._breaker = Breaker()
        self._reason = ""
        self._cancelled = asyncio.Event()
        # Set while there is a way back: never once the last byte of an output is on its way.
        self._way_back = False
        self._lock = threading.Lock()
        self.bytes_fetched: int | None = 0 if ends.source else None
        self.bytes_total: int | None = None
        self.bytes_delivered: int | None = 0 if ends.target else None

    def cancel(self, reason: str) -> bool:
        """End the way under way with ``JobCancelledError(reason)``; ``False`` when there is none, or it is too late."""
        with self._lock:
            if not self._way_back:
                return False
            self._breaker.open()
        self._reason = reason
        self._cancelled.set()
        return True

    async def fetch(self, path: Path) -> None:
        """The whole input to the new file ``path``; nothing to do for one that is here.

        Raises:
            AcceleratorError: it cannot be read or stored; there is no file.
            JobCancelledError: as ``cancel`` says.
        """
        if self._ends.source is not None:
            await self._travel(lambda: self._fetch(path))

    async def deliver(self, path: Path) -> None:
        """The file ``path`` to the target; nothing to do for one that stays, or a job that gave none.

        Raises:
            AcceleratorError: it cannot be written; there is nothing at the target that was not there.
            JobCancelledError: as ``cancel`` says.
        """
        if self._ends.target is not None and path.exists():
            await self._travel(lambda: self._deliver(path))

    async def _travel(self, work: Callable[[], None]) -> None:
        self._way_back = True
        cancelled: asyncio.Future[Any] = asyncio.ensure_future(self._cancelled.wait())
        turn: asyncio.Future[Any] = asyncio.ensure_future(self._couriers.turns.acquire())
        try:
            await asyncio.wait([turn, cancelled], return_when=asyncio.FIRST_COMPLETED)
            if cancelled.done():
                if turn.done():
                    self._couriers.turns.release()
                raise JobCancelledError(self._reason)
            way: asyncio.Future[Any] = _in_thread(work)
            # The place is free when the thread has ended, which a cancelled one may do later.
            way.add_done_callback(lambda _: self._couriers.turns.release())
            await asyncio.wait([way, cancelled], return_when=asyncio.FIRST_COMPLETED)
            if cancelled.done():
                raise JobCancelledError(self._reason)
            way.result()
        finally:
            self._way_back = False
            cancelled.cancel()
            if not turn.done():
                turn.cancel()

    def _fetch(self, path: Path) -> None:
        assert self._ends.source is not None
        reader = access.open_source(self._ends.source, self._couriers.policy, self._breaker)
        with contextlib.closing(reader):
            self.bytes_total = reader.size_bytes
            if reader.size_bytes is not None:
                self._couriers.spool.check_room(reader.size_bytes)
            try:
                with open(path, "xb", buffering=0, opener=_private) as file:
                    while part := reader.read(BLOCK_BYTES):
                        self._breaker.check()
                        view = memoryview(part)
                        while view:
                            view = view[file.write(view) :]
                        self.bytes_fetched = (self.bytes_fetched or 0) + len(part)
            except OSError as error:
                path.unlink(missing_ok=True)
                raise disk_error("store the input", error) from error
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    def _deliver(self, path: Path) -> None:
        assert self._ends.target is not None
        with open(path, "rb", buffering=0) as file:
            body = _Body(file, self)
            access.send(self._ends.target, body, body.size_bytes, self._couriers.policy, self._breaker)

    def told(self, done: int, total: int) -> None:
        """So much of the output has been taken from the spool. With its last byte there is no way back."""
        with self._lock:
            self._breaker.check()
            self._way_back = done < total
        self.bytes_delivered = done


class _Body:
    """The output on its way out, counted."""

    def __init__(self, file: BinaryIO, courier: Courier) -> None:
        self._file, self._courier = file, courier
        self.size_bytes = os.fstat(file.fileno()).st_size

    def read(self, size: int = BLOCK_BYTES, /) -> bytes:
        try:
            part = self._file.read(size)
        except OSError as error:
            # Named here: the transport would take it for a failure of the connection.
            raise FileAccessError(f"cannot read the output in the spool: {error.strerror}") from error
        self._courier.told(self._file.tell(), self.size_bytes)
        return part

    def seek(self, offset: int, /) -> object:
        self._file.seek(offset)
        if self.size_bytes:
            self._courier.told(offset, self.size_bytes)
        return offset


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _in_thread(work: Callable[[], None]) -> asyncio.Future[None]:
    """Run ``work`` in a thread that nobody waits for at the node's end, as an executor's would be."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[None] = loop.create_future()

    def tell(error: AcceleratorError | None) -> None:
        if not outcome.done():
            outcome.set_result(None) if error is None else outcome.set_exception(error)
        # Whoever waited may have gone: then nobody asks for the error.
        outcome.exception()

    def run() -> None:
        found: AcceleratorError | None = None
        try:
            work()
        except AcceleratorError as error:
            found = error
        except Exception as error:  # noqa: BLE001 - logged, without what its text may quote
            log.error("a transfer failed: %s", without_secrets(traceback.format_exc()))
            found = FileAccessError(f"the transfer failed: {type(error).__name__}")
        # The loop may have ended before.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=run, name="courier", daemon=True).start()
    return outcome
