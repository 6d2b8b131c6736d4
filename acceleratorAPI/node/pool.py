"""The worker processes and who of them does what next. Knows commands, not configurations or jobs."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import logging
import os
import signal
import socket
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from acceleratorAPI.errors import (
    AcceleratorError,
    JobCancelledError,
    NodeBusyError,
    WorkerCrashedError,
    error_from_code,
)
from acceleratorAPI.node.commands import Command, Configure, InputNews, encode
from acceleratorAPI.node.redact import without_secret_names
from acceleratorAPI.node.sandbox import Sandbox
from acceleratorAPI.node.worker import KEPT_CONFIGURATIONS

log = logging.getLogger(__name__)

PATIENCE_S = 30.0

_LINE_LIMIT_BYTES = 16 << 20


def _nothing(_bytes_in: int, _bytes_out: int, _bytes_expected: int | None) -> None:
    """For a call whose progress nobody follows."""


class Call:
    """One command on its way through the pool.

    Attributes:
        answer: the worker's ``done`` event.
        started: the worker has begun.
        long: it may take its slot for long, as much is to be read or the input is still on its way.
    """

    def __init__(
        self, command: Command, progress: Callable[[int, int, int | None], None] = _nothing, *, long: bool = False
    ) -> None:
        self.command = command
        self.long = long
        self.queued_s = time.monotonic()
        self.key = command.key if isinstance(command, Configure) else command.configuration.key
        self.progress = progress
        self.running = False
        self.answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.started = asyncio.Event()
        self.cancelled: str | None = None
        self.slot: Slot | None = None
        # What its events are about, whoever lets it run.
        self.context = contextvars.copy_context()
        self.queued_ns = time.time_ns()
        self.began_ns = self.ended_ns = 0

    @property
    def function(self) -> str:
        """The function's name."""
        command = self.command
        return command.function if isinstance(command, Configure) else command.configuration.function

    @property
    def waited_s(self) -> float:
        """How long it waited for a slot, so far."""
        return max(0, (self.began_ns or self.ended_ns or time.time_ns()) - self.queued_ns) / 1e9

    @property
    def worked_s(self) -> float:
        """How long a worker had it, so far."""
        return max(0, (self.ended_ns or time.time_ns()) - self.began_ns) / 1e9 if self.began_ns else 0.0


class Slot:
    """A place for one job: a worker process, started again when it dies."""

    def __init__(self, number: int, threads: int, max_output: int | None, sandbox: Sandbox) -> None:
        self.number = number
        self.call: Call | None = None
        self.since = time.time()
        self._threads = threads
        self._max_output = max_output
        # What it leaves there is no other slot's business.
        own = sandbox.temporary and f"{sandbox.temporary}/{number}"
        self._sandbox = replace(sandbox, temporary=own)
        self.protections: list[str] = []
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._starting = asyncio.Lock()
        self._retired = asyncio.Event()
        # Mirrors the worker's own memory of configurations, to send a job where it needs none again.
        self.configured: OrderedDict[str, None] = OrderedDict()

    def take(self, call: Call | None) -> None:
        """Work for ``call`` from now on, or for none."""
        self.call, self.since = call, time.time()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """The process id of a running worker."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Make sure that a worker runs and is ready for commands.

        Raises:
            WorkerCrashedError: it ends before it is ready.
        """
        async with self._starting:
            if self.alive and self._reader is not None and not self._reader.at_eof():
                return
            self.close()
            if self._retired.is_set():
                raise WorkerCrashedError("the node is ending")
            self.configured.clear()
            ours, theirs = socket.socketpair()
            with theirs:
                path_option = ["-P"] if sys.flags.safe_path else []
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *path_option,
                    "-m",
                    "acceleratorAPI.node.worker",
                    str(theirs.fileno()),
                    str(self._threads),
                    str(self._max_output or 0),
                    json.dumps(asdict(self._sandbox)),
                    # The node's credentials, if it was given some so, are not for functions.
                    env=None if self._sandbox.mode == "off" else without_secret_names(os.environ),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=sys.stderr,
                    pass_fds=[theirs.fileno()],
                    # A session of its own: the terminal's Ctrl-C reaches only the node, even while this starts.
                    start_new_session=True,
                )
            if self._retired.is_set():
                self.kill()
            self._reader, self._writer = await asyncio.open_unix_connection(sock=ours, limit=_LINE_LIMIT_BYTES)
            ready = await self._receive()
            if ready.get("event") != "ready":
                raise WorkerCrashedError(await self._cause())
            self.protections = ready["protections"]

    async def perform(self, call: Call) -> dict[str, Any]:
        """Send the command and follow it to its end.

        Raises:
            WorkerCrashedError: the process died.
            AcceleratorError: what the worker reports.
        """
        for attempt in (1, 2):
            await self.start()
            assert self._writer is not None
            if call.cancelled is not None:
                raise JobCancelledError(call.cancelled)
            with contextlib.suppress(OSError):
                self._writer.write(encode(call.command))
                await self._writer.drain()
            event = await self._receive()
            # A worker that died idle never began: the job is whole, a new worker takes it.
            if event or attempt == 2 or call.cancelled:
                break
        self._remember(call.key)
        while event:
            if event["event"] == "started":
                call.started.set()
            elif event["event"] == "progress":
                call.progress(event["bytes_in"], event["bytes_out"], event["bytes_expected"])
            elif event["event"] == "done":
                return event
            elif event["event"] == "error":
                if trace := event.get("traceback"):
                    log.error("worker %d: %s", self.number, trace)
                raise error_from_code(event["code"], event["message"])
            event = await self._receive()
        raise WorkerCrashedError(await self._cause())

    def tell(self, news: InputNews) -> None:
        """Let the worker know how far the input of its job is."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(news))

    async def _receive(self) -> dict[str, Any]:
        """The next event; empty when the worker is gone."""
        assert self._reader is not None
        try:
            line = await self._reader.readline()
            event: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
            if "data_bytes" in event:
                event["data"] = await self._reader.readexactly(event["data_bytes"])
            return event
        except (OSError, ValueError, asyncio.IncompleteReadError):
            # An answer beyond the line limit: nothing after it could be understood.
            self.kill()
            return {}

    async def _cause(self) -> str:
        """How the process ended, for a person."""
        assert self._process is not None
        code = await self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if -code == signal.SIGKILL:
            how += " (out of memory, or ended from outside)"
        return f"the worker process {how}; the job is lost, the node goes on: try again"

    def _remember(self, key: str) -> None:
        self.configured[key] = None
        self.configured.move_to_end(key)
        while len(self.configured) > KEPT_CONFIGURATIONS:
            self.configured.popitem(last=False)

    def kill(self) -> None:
        """End the worker at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def close(self) -> None:
        """End the worker and let go of its socket."""
        self.kill()
        if self._writer is not None:
            self._writer.close()

    def retire(self) -> None:
        """End the worker, also one that is being started now, and start none again."""
        self._retired.set()
        self.close()

    async def wait(self) -> None:
        """Until the process has ended and its socket is closed, when there is one."""
        if self._process is not None:
            await self._process.wait()
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()


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
