"""What the node tells a worker process: JSON lines on a socket pair. Kept lean, workers import it.

A worker answers each command (not ``InputNews``) with ``{"event": "started"}``, any number of ``{"event": "progress",
"bytes_in", "bytes_out"}``, then one ``{"event": "done", ...}`` or ``{"event": "error", "code", "message"}``, with a
``"traceback"`` for the log when the function raised something of its own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Configure:
    """Make a function ready.

    Attributes:
        key: names the configuration; a worker that has it does not configure again.
        function: the function's name.
        parameters: of ``configure``.
        datafile: path of the configuration file.
        scratch: path of the configuration's scratch folder; it need not exist.
    """

    key: str
    function: str
    parameters: dict[str, Any]
    datafile: str | None
    scratch: str


@dataclass(frozen=True, slots=True)
class Input:
    """What a job reads.

    Attributes:
        path: of a file or folder.
        name: what the user calls it, without the folders above it.
        folder: it is a folder, or (when it was sent) the tar file of one.
        sent: it is a copy in the spool, not the user's own file.
        grows: it is still on its way; ``InputNews`` tell how far it is.
        size_bytes: of one that grows, when it was announced.
    """

    path: str
    name: str
    folder: bool = False
    sent: bool = False
    grows: bool = False
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class InputNews:
    """How far the input of the running job is.

    Attributes:
        size_bytes: so many bytes of the file are there and right.
        complete: these are all.
        removed: no more will come.
    """

    size_bytes: int
    complete: bool = False
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """Run one job with a configuration.

    Attributes:
        job: names the job, also when it begins again.
        configuration: as it was made; the worker makes it when it does not have it.
        parameters: of ``process``.
        source: the input, ``None`` for a function or call without one.
        target: path of the output, ``None`` for a function without one.
        spooled: the target is in the spool: it can be read while it grows, is summed up, and flushed to the disk
            before the job counts as done.
    """

    job: str
    configuration: Configure
    parameters: dict[str, Any]
    source: Input | None
    target: str | None
    spooled: bool


Command = Configure | Process
Message = Command | InputNews


def encode(command: Message) -> bytes:
    """One line."""
    return json.dumps({"do": type(command).__name__.lower(), **asdict(command)}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message of one line."""
    values = json.loads(line)
    kind = values.pop("do")
    if kind == "inputnews":
        return InputNews(**values)
    if kind == "configure":
        return Configure(**values)
    source = None if values["source"] is None else Input(**values["source"])
    return Process(**{**values, "configuration": Configure(**values["configuration"]), "source": source})
