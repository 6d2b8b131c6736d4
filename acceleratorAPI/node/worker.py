"""A worker process: configures functions and runs one job at a time. It ends when its node does.

Started by the node as ``python -m acceleratorAPI.node.worker FD THREADS SANDBOX``; imports nothing of the HTTP service.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from acceleratorAPI.errors import AcceleratorError, ConfigurationError, FunctionFailedError
from acceleratorAPI.files import open_source, replacing
from acceleratorAPI.functions import registry
from acceleratorAPI.functions.base import Function, check_parameters
from acceleratorAPI.node.commands import Command, Configure, Process, decode
from acceleratorAPI.node.disk import disk_error
from acceleratorAPI.node.redact import scrubbed
from acceleratorAPI.node.sandbox import Sandbox, enter

KEPT_CONFIGURATIONS = 4
PROGRESS_INTERVAL_S = 0.2
_PR_SET_PDEATHSIG = 1


class Link:
    """The worker's end of the socket pair: commands come in by a thread, events go out from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._sending = threading.Lock()
        self.commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        threading.Thread(target=self._receive, name="commands", daemon=True).start()

    def _receive(self) -> None:
        with contextlib.suppress(OSError), self._socket.makefile("rb") as lines:
            for line in lines:
                self.commands.put(decode(line))
        # The node is gone: whatever a kernel is doing, nobody wants it any more.
        os._exit(0)

    def send(self, event: str, **values: Any) -> None:
        """One event to the node."""
        line = json.dumps({"event": event, **values}, allow_nan=False).encode() + b"\n"
        with self._sending:
            self._socket.sendall(line)


class Progress:
    """Counts the bytes a job has moved and tells the node a few times a second."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._next = time.monotonic() + PROGRESS_INTERVAL_S
        self.bytes_in = 0
        self.bytes_out = 0

    def tell(self) -> None:
        """Send the counts when the last time is long enough ago."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PROGRESS_INTERVAL_S
            self._link.send("progress", bytes_in=self.bytes_in, bytes_out=self.bytes_out)


class CountedSource:
    """A function's input, counted."""

    def __init__(self, file: FileIO, progress: Progress) -> None:
        self._file = file
        self._progress = progress

    def readinto(self, buffer: memoryview, /) -> int | None:
        """As ``FileIO.readinto``."""
        count = self._file.readinto(buffer)
        self._progress.bytes_in += count or 0
        self._progress.tell()
        return count


class CountedTarget:
    """A function's output, counted."""

    def __init__(self, file: FileIO, progress: Progress) -> None:
        self._file = file
        self._progress = progress

    def write(self, data: memoryview, /) -> int | None:
        """As ``FileIO.write``.

        Raises:
            DiskFullError: no space left.
        """
        try:
            count = self._file.write(data)
        except OSError as error:
            raise disk_error("write the output", error) from error
        self._progress.bytes_out += count or 0
        self._progress.tell()
        return count


class Worker:
    """Executes commands one after the other and keeps the last few configured functions."""

    def __init__(self, link: Link, threads: int) -> None:
        self._link = link
        self._threads = threads
        self._configured: OrderedDict[str, Function[Any, Any]] = OrderedDict()

    def run(self, protections: list[str]) -> None:
        """Tell of the ``protections`` in force, then work; never returns: the process ends with its node."""
        self._link.send("ready", protections=protections)
        while True:
            command = self._link.commands.get()
            self._link.send("started")
            self._answer(command)

    def _answer(self, command: Command) -> None:
        configuration = command if isinstance(command, Configure) else command.configuration
        secrets = {"configure": configuration.parameters, "process": getattr(command, "parameters", {})}
        try:
            done = self._configure(command) if isinstance(command, Configure) else self._process(command)
            self._link.send("done", **done)
        except AcceleratorError as error:
            self._link.send("error", code=error.code, message=scrubbed(str(error), secrets))
        except Exception as error:  # noqa: BLE001 - a function may raise anything; the worker goes on
            sys.stderr.write(scrubbed(traceback.format_exc(), secrets).rstrip().replace("\n", " | ") + "\n")
            message = scrubbed(f"{configuration.function} failed: {type(error).__name__}: {error}", secrets)
            self._link.send("error", code=FunctionFailedError.code, message=" ".join(message.split()))

    def _configure(self, command: Configure) -> dict[str, Any]:
        started = time.perf_counter()
        specific = self._make(command)
        return {"specific": dict(specific), "elapsed_s": time.perf_counter() - started}

    def _make(self, command: Configure) -> Mapping[str, Any]:
        self._configured.pop(command.key, None)
        while len(self._configured) >= KEPT_CONFIGURATIONS:
            self._configured.popitem(last=False)
        kind = registry.load(command.function)
        function = kind(self._threads)
        parameters = check_parameters(kind.configure_parameters, command.parameters, command.function)
        datafile = None if command.datafile is None else Path(command.datafile)
        specific = function.configure(parameters, datafile)
        self._configured[command.key] = function
        return specific

    def _process(self, command: Process) -> dict[str, Any]:
        started = time.perf_counter()
        key, name = command.configuration.key, command.configuration.function
        if key not in self._configured:
            self._make(command.configuration)
        self._configured.move_to_end(key)
        function = self._configured[key]
        parameters = check_parameters(function.process_parameters, command.parameters, name)
        progress = Progress(self._link)
        with contextlib.ExitStack() as files:
            source = target = None
            if command.source is not None:
                source = CountedSource(files.enter_context(open_source(command.source)), progress)
            if command.target is not None:
                output = files.enter_context(_replacing(command.target, durable=command.durable))
                target = CountedTarget(output, progress)
            outcome = function.process(source, target, parameters)
        measurement = outcome.measurement
        return {
            "specific": dict(outcome.specific),
            "backend": measurement.backend,
            "kernel_s": measurement.kernel_s,
            "bytes_in": measurement.bytes_in,
            "bytes_out": measurement.bytes_out,
            "wall_s": time.perf_counter() - started,
        }


@contextlib.contextmanager
def _replacing(path: str, *, durable: bool) -> Iterator[FileIO]:
    """``files.replacing``, with a disk that fills up at the last flush named as such."""
    try:
        with replacing(path, durable=durable) as output:
            yield output
    except OSError as error:
        raise disk_error("write the output", error) from error


def _die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the node dies: a function holding the interpreter stops the thread, not this."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """``argv``: the number of the inherited socket, how many threads one job may use, and the sandbox as JSON."""
    # Ctrl-C goes to the terminal's whole group; what becomes of jobs is the node's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # First of all: what a function's import or a second thread begins is under it.
    try:
        protections = enter(Sandbox(**json.loads(sys.argv[3])))
    except ConfigurationError as error:
        sys.exit(f"acceleratorAPI.node.worker: {error}")
    # A change of user namespace would undo it.
    _die_with_parent()
    Worker(Link(int(sys.argv[1])), int(sys.argv[2])).run(protections)


if __name__ == "__main__":
    main()
