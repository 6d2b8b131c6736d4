"""A worker process: configures functions and runs one job at a time. It ends when its node does.

Started by the node as ``python -m acceleratorAPI.node.worker FD FILES_FD THREADS MAX_OUTPUT SANDBOX``; imports nothing
of the HTTP service.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Any

from acceleratorAPI.drivers.memory import reuse_freed_memory
from acceleratorAPI.errors import AcceleratorError, ConfigurationError, FunctionFailedError, error_from_code
from acceleratorAPI.functions import registry
from acceleratorAPI.functions.base import Function, Outcome, Parameters, check_parameters
from acceleratorAPI.node.commands import Command, Configure, InputNews, OutputFile, Process, decode
from acceleratorAPI.node.descriptors import Taker
from acceleratorAPI.node.redact import scrubbed
from acceleratorAPI.node.sandbox import Sandbox, enter
from acceleratorAPI.node.streams import Arrival, Progress, file_source, folder_source, own_target, spool_target

KEPT_CONFIGURATIONS = 4
_PR_SET_PDEATHSIG = 1
# Its end says most; a message of megabytes is no log line.
_TRACEBACK_CHARACTERS = 16384


class Link:
    """The worker's ends of two socket pairs: messages, and open files.

    Commands come in by a thread, events go out from any thread.
    """

    def __init__(self, descriptor: int, files_descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._files = Taker(files_descriptor)
        self._outputs: queue.SimpleQueue[OutputFile] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self.arrival = Arrival()
        self.commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        threading.Thread(target=self._receive, name="commands", daemon=True).start()

    def _receive(self) -> None:
        with contextlib.suppress(OSError), self._socket.makefile("rb") as lines:
            for line in lines:
                message = decode(line, lines.read, lambda: self._files.take("rb"))
                if isinstance(message, InputNews):
                    self.arrival.tell(message)
                elif isinstance(message, OutputFile):
                    self._outputs.put(message)
                else:
                    self.commands.put(message)
        # The node is gone: whatever a kernel is doing, nobody wants it any more.
        os._exit(0)

    def open_output(self) -> FileIO:
        """A new file of the spool, for the output of the running job.

        Raises:
            AcceleratorError: there can be none.
        """
        self.send("output")
        answer = self._outputs.get()
        if answer.code:
            raise error_from_code(answer.code, answer.message)
        return self._files.take("r+b")

    def send(self, event: str, data: bytes | None = None, **values: Any) -> None:
        """One event to the node, and the bytes that follow it."""
        if data is not None:
            values["data_bytes"] = len(data)
        line = json.dumps({"event": event, **values}, allow_nan=False).encode() + b"\n"
        with self._sending:
            self._socket.sendall(line + data if data else line)


class Worker:
    """Executes commands one after the other and keeps the last few configured functions."""

    def __init__(self, link: Link, threads: int, max_output: int | None) -> None:
        self._link = link
        self._threads = threads
        self._max_output = max_output
        self._configured: OrderedDict[str, Function[Any, Any]] = OrderedDict()

    def run(self, protections: list[str]) -> None:
        """Tell of the ``protections`` in force, then work; never returns: the process ends with its node."""
        self._link.send("ready", protections=protections)
        while True:
            command = self._link.commands.get()
            # Before "started", which is what the first news of this command's input wait for.
            self._link.arrival.reset()
            self._link.send("started")
            self._answer(command)
            if _worn_out():
                # The next job gets a new worker, rather than an error that is not its own.
                os._exit(0)

    def _answer(self, command: Command) -> None:
        configuration = command if isinstance(command, Configure) else command.configuration
        secrets = {"configure": configuration.parameters, "process": getattr(command, "parameters", {})}
        try:
            done = self._configure(command) if isinstance(command, Configure) else self._process(command)
            self._link.send("done", **done)
        except AcceleratorError as error:
            self._link.send("error", code=error.code, message=scrubbed(str(error), secrets))
        except Exception as error:  # noqa: BLE001 - a function may raise anything; the worker goes on
            trace = scrubbed(traceback.format_exc(), secrets).rstrip()[-_TRACEBACK_CHARACTERS:]
            message = scrubbed(f"{configuration.function} failed: {type(error).__name__}: {error}", secrets)
            message = " ".join(message.split())
            self._link.send("error", code=FunctionFailedError.code, message=message, traceback=trace)
        finally:
            if isinstance(command, Process) and command.source is not None and command.source.file is not None:
                command.source.file.close()

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
        function.scratch = Path(command.scratch)
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
        function.job = command.job
        progress = Progress(
            lambda done, made, all_: self._link.send("progress", bytes_in=done, bytes_out=made, bytes_expected=all_)
        )
        outcome, crc32c, data = _run(function, command, parameters, progress, self._link, self._max_output)
        measurement = outcome.measurement
        return {
            "data": data,
            "specific": dict(outcome.specific),
            "has_output": outcome.has_output,
            "crc32c": crc32c,
            "backend": measurement.backend,
            "kernel_s": measurement.kernel_s,
            "bytes_in": measurement.bytes_in,
            "bytes_out": measurement.bytes_out,
            "wall_s": time.perf_counter() - started,
        }


def _run(
    function: Function[Any, Any],
    command: Process,
    parameters: Parameters,
    progress: Progress,
    link: Link,
    max_output: int | None,
) -> tuple[Outcome, int | None, bytes | None]:
    """One job between its ends; also the CRC32C of an output for the spool, and that output itself if it is small."""
    given = command.source
    with contextlib.ExitStack() as stack:
        target = None
        if command.target is not None:
            target = stack.enter_context(own_target(command.target, progress, max_output))
        elif command.spooled:
            file = spool_target(link.open_output, progress, max_output, inline=command.inline)
            target = stack.enter_context(file)
        if given is not None and given.folder:
            folder = stack.enter_context(folder_source(given, progress, link.arrival))
            outcome = function.process_folder(folder, target, parameters)
            if folder.warning:
                outcome = replace(outcome, specific={"warning": folder.warning, **outcome.specific})
        else:
            source = stack.enter_context(file_source(given, progress, link.arrival)) if given is not None else None
            outcome = function.process(source, target, parameters)
        if not outcome.has_output and target is not None:
            target.drop()
    if target is None:
        return outcome, None, None
    return outcome, target.crc32c, target.held if outcome.has_output else None


def _worn_out() -> bool:
    """Whether functions have left so many files open that a job may soon find no place for its own."""
    try:
        return len(os.listdir("/proc/self/fd")) > resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
    except FileNotFoundError:  # not on this system
        return False
    except OSError:
        return True


def _die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the node dies: a function holding the interpreter stops the thread, not this."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """``argv``: numbers of the inherited sockets, a job's threads, the bytes it may give (0: any), the sandbox."""
    # Ctrl-C goes to the terminal's whole group; what becomes of jobs is the node's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # First of all: what a function's import or a second thread begins is under it.
    try:
        protections = enter(Sandbox(**json.loads(sys.argv[5])))
    except ConfigurationError as error:
        sys.exit(f"acceleratorAPI.node.worker: {error}")
    # A change of user namespace would undo it.
    _die_with_parent()
    reuse_freed_memory()
    link = Link(int(sys.argv[1]), int(sys.argv[2]))
    Worker(link, int(sys.argv[3]), int(sys.argv[4]) or None).run(protections)


if __name__ == "__main__":
    main()
