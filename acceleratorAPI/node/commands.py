"""What the node tells a worker process: JSON lines on a socket pair. Kept lean, workers import it.

A worker answers each command with ``{"event": "started"}``, any number of ``{"event": "progress", "bytes_in",
"bytes_out"}``, then one ``{"event": "done", ...}`` or ``{"event": "error", "code", "message"}``, with a
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
    """

    key: str
    function: str
    parameters: dict[str, Any]
    datafile: str | None


@dataclass(frozen=True, slots=True)
class Process:
    """Run one job with a configuration.

    Attributes:
        configuration: as it was made; the worker makes it when it does not have it.
        parameters: of ``process``.
        source: path of the input, ``None`` for a function or call without one.
        target: path of the output, ``None`` for a function without one.
        durable: flush the output to the disk before the job counts as done.
    """

    configuration: Configure
    parameters: dict[str, Any]
    source: str | None
    target: str | None
    durable: bool


Command = Configure | Process


def encode(command: Command) -> bytes:
    """One line."""
    return json.dumps({"do": type(command).__name__.lower(), **asdict(command)}).encode() + b"\n"


def decode(line: bytes) -> Command:
    """The command of one line."""
    values = json.loads(line)
    if values.pop("do") == "configure":
        return Configure(**values)
    return Process(**{**values, "configuration": Configure(**values["configuration"])})
