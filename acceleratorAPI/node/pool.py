"""The slots and who of them does what next."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import signal
import time
from collections import deque
from typing import Any

from acceleratorAPI.errors import AcceleratorError, JobCancelledError, NodeBusyError, WorkerCrashedError
from acceleratorAPI.node.sandbox import Sandbox
from acceleratorAPI.node.slot import Call, Slot

log = logging.getLogger(__name__)

PATIENCE_S = 30.0


class Pool:
    """The slots, and the calls that wait for one. A call goes where its configuration is already in memory.

    Long calls leave one slot to short ones, where there are several, and let short ones pass them in the queue for
    ``PATIENCE_S`` seconds.
    """

    def __init__(self, slots: int, threads: int, max_output: int | None = None, sandbox: Sandbox | None = None) -> None:
        """Make the slots; ``threads`` and ``max_output`` (bytes) are what one job may use."""
        self.slots = [Slot(number, threads, max_output, sandbox or Sandbox()) for number in range(slots)]
        # Of the workers, in words; known when the first one is ready.
        self.protections: list[str] = []
        self._idle = list(self.slots)
        self._waiting: deque[Call] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.crashes = 0

    @property
    def waiting(self) -> int:
        """How many calls have no slot yet."""
        return len(self._waiting)

    @property
    def idle(self) -> int:
        """How many slots have nothing to do."""
        return len(self._idle)

    @property
    def pids(self) -> list[int]:
        """The worker processes; safe to read from any thread."""
        return [pid for slot in self.slots if (pid := slot.pid) is not None]

    def kill(self) -> None:
        """End every worker at once and start none again; safe to call from any thread."""
        self._closed = True
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def start(self) -> None:
        """Start every worker in the background."""
        for slot in self.slots:
            self._background(self._warm(slot))

    def submit(self, call: Call, *, first: bool = False) -> None:
        """Run ``call`` when a slot is free, ``first`` of those that wait.

        Raises:
            NodeBusyError: the pool is closed.
        """
        if self._closed:
            raise NodeBusyError("the node is ending; try again on another one")
        (self._waiting.appendleft if first else self._waiting.append)(call)
        self._dispatch()

    def cancel(self, call: Call, reason: str) -> None:
        """End ``call`` with ``JobCancelledError(reason)``; its worker is killed when it runs."""
        if call.answer.done() or call.cancelled is not None:
            return
        call.cancelled = reason
        if call.slot is not None:
            call.slot.kill()
        else:
            # One that is not in the pool yet has nothing but its answer.
            with contextlib.suppress(ValueError):
                self._waiting.remove(call)
            call.answer.set_exception(JobCancelledError(reason))

    def reset(self) -> None:
        """End the idle workers, for new ones that hold no configuration."""
        for slot in self._idle:
            slot.close()
            self._background(self._warm(slot))

    async def close(self) -> None:
        """Kill every worker and wait until all are gone."""
        self._closed = True
        for slot in self.slots:
            slot.retire()
        # The event loop cannot be closed over a child that is still starting.
        if self._tasks:
            await asyncio.wait(self._tasks)
        for slot in self.slots:
            await slot.wait()

    def _background(self, work: Any, context: contextvars.Context | None = None) -> None:
        # Never the context of whoever happens to be here: its events are about another request.
        task: asyncio.Task[None] = asyncio.create_task(work, context=context or contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _dispatch(self) -> None:
        while self._idle and (call := self._next()) is not None:
            self._waiting.remove(call)
            slot = next((slot for slot in self._idle if call.key in slot.configured), self._idle[0])
            self._idle.remove(slot)
            call.slot = slot
            call.running = True
            call.began_ns = time.time_ns()
            slot.take(call)
            self._background(self._run(slot, call), call.context)

    def _next(self) -> Call | None:
        """The waiting call whose turn it is, if any may run now."""
        busy_for_long = sum(slot.call is not None and slot.call.long for slot in self.slots)
        long_may_run = busy_for_long < max(1, len(self.slots) - 1)
        first_long = next((call for call in self._waiting if call.long), None) if long_may_run else None
        if first_long is not None and time.monotonic() - first_long.queued_s > PATIENCE_S:
            return first_long
        return next((call for call in self._waiting if not call.long), first_long)

    async def _run(self, slot: Slot, call: Call) -> None:
        try:
            try:
                answer = await slot.perform(call)
            finally:
                call.ended_ns = time.time_ns()
                slot.take(None)
        except AcceleratorError as error:
            outcome: AcceleratorError = error if call.cancelled is None else JobCancelledError(call.cancelled)
            call.answer.set_exception(outcome)
            if isinstance(error, WorkerCrashedError) and call.cancelled is None:
                self.crashes += 1
                log.warning("worker %d: %s", slot.number, error)
        except Exception as error:
            log.exception("worker %d cannot be used", slot.number)
            call.answer.set_exception(WorkerCrashedError(f"no worker process could be started: {error}"))
        else:
            call.answer.set_result(answer)
        call.slot = None
        self._idle.append(slot)
        self._dispatch()
        if slot in self._idle and not slot.alive and not self._closed:
            await self._warm(slot)

    async def _warm(self, slot: Slot) -> None:
        try:
            if not self._closed:
                await slot.start()
                if slot.protections != self.protections:
                    self.protections = slot.protections
                    log.info("workers are protected by: %s", ", ".join(self.protections))
        except (WorkerCrashedError, OSError) as error:
            # The next call tries again and reports it.
            if not self._closed:
                log.warning("worker %d does not start: %s", slot.number, error)
