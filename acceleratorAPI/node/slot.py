"""A worker process and the command it works on, from the node's side. Knows commands, not configurations or jobs."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import json
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from acceleratorAPI.errors import JobCancelledError, WorkerCrashedError, error_from_code
from acceleratorAPI.files import access_error
from acceleratorAPI.node.commands import Command, Configure, InputNews, OutputFile, Process, encode
from acceleratorAPI.node.descriptors import Giver, open_input, open_output
from acceleratorAPI.node.disk import disk_error
from acceleratorAPI.node.redact import without_secret_names
from acceleratorAPI.node.sandbox import Sandbox
from acceleratorAPI.node.worker import KEPT_CONFIGURATIONS

log = logging.getLogger(__name__)

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
        # Where the configuration files of its configurations are, as links.
        self._datafiles = Path(f"{own}.datafiles") if own else None
        readable = (str(self._datafiles),) if self._datafiles else ()
        self._sandbox = replace(sandbox, temporary=own, readable=readable)
        self.protections: list[str] = []
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._files: Giver | None = None
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
            self._forget_all()
            self._files = Giver()
            ours, theirs = socket.socketpair()
            with theirs, self._files.theirs:
                path_option = ["-P"] if sys.flags.safe_path else []
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *path_option,
                    "-m",
                    "acceleratorAPI.node.worker",
                    str(theirs.fileno()),
                    str(self._files.theirs.fileno()),
                    str(self._threads),
                    str(self._max_output or 0),
                    json.dumps(asdict(self._sandbox)),
                    # The node's credentials, if it was given some so, are not for functions.
                    env=None if self._sandbox.mode == "off" else without_secret_names(os.environ),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=sys.stderr,
                    pass_fds=[theirs.fileno(), self._files.theirs.fileno()],
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
            await self._command(call.command)
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
            elif event["event"] == "output":
                self._give_output(call.command)
            elif event["event"] == "done":
                return event
            elif event["event"] == "error":
                if trace := event.get("traceback"):
                    log.error("worker %d: %s", self.number, trace)
                if isinstance(call.command, Configure):
                    self._drop_datafile(call.key)
                raise error_from_code(event["code"], event["message"])
            event = await self._receive()
        raise WorkerCrashedError(await self._cause())

    def tell(self, message: InputNews | OutputFile) -> None:
        """Let the worker know how far the input of its job is, or that its output's file is there."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(message))

    async def _command(self, command: Command) -> None:
        """Send ``command`` with the file it reads, if the worker still lives.

        Raises:
            FileAccessError: a file cannot be opened.
        """
        assert self._writer is not None
        if isinstance(command, Configure):
            command = self._with_datafile(command)
        else:
            command = replace(command, configuration=self._with_datafile(command.configuration))
            source = command.source
            if source is not None and source.sent and source.data is None:
                try:
                    self._give(open_input(source.path))
                except OSError as error:
                    raise access_error("read", source.path, error) from error
        with contextlib.suppress(OSError):
            self._writer.write(encode(command))
            await self._writer.drain()

    def _give_output(self, command: Command) -> None:
        """Answer the worker that wants the file of its job's output."""
        if not (isinstance(command, Process) and command.spooled and command.target is not None):
            # Taken over by its job, which wants a file that is not its own.
            self.kill()
            return
        try:
            self._give(open_output(command.target))
        except OSError as error:
            refused = disk_error("write the output", error)
            self.tell(OutputFile(refused.code, str(refused)))
        else:
            self.tell(OutputFile())

    def _give(self, descriptor: int) -> None:
        """Send an open file, if the worker still lives."""
        assert self._files is not None
        try:
            self._files.give(descriptor)
        except OSError:
            # One that still lives would wait for it for ever.
            self.kill()
        finally:
            os.close(descriptor)

    def _with_datafile(self, command: Configure) -> Configure:
        """The configuration as the worker can make it: its file is where it may read."""
        if command.datafile is None or self._datafiles is None:
            return command
        place = self._datafiles / command.key
        try:
            if not place.exists():
                _link(command.datafile, place)
        except OSError as error:
            raise access_error("read", command.datafile, error) from error
        return replace(command, datafile=str(place))

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
            key, _ = self.configured.popitem(last=False)
            self._drop_datafile(key)

    def _drop_datafile(self, key: str) -> None:
        if self._datafiles is not None:
            (self._datafiles / key).unlink(missing_ok=True)

    def _forget_all(self) -> None:
        self.configured.clear()
        if self._datafiles is not None:
            shutil.rmtree(self._datafiles, ignore_errors=True)
            self._datafiles.mkdir(mode=0o700, exist_ok=True)

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
        if self._files is not None:
            self._files.close()

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


def _link(file: str, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        # The spool may be on a disk of its own.
        shutil.copyfile(file, place)
