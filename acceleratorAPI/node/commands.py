"""What the node tells a worker process: JSON lines on a socket pair. Kept lean, workers import it.

A small input follows its line, and a small output the line of its ``done``, as the bytes they are. Files of the spool
travel as open files (``descriptors``): an input with its command, an output when the worker asks by ``{"event":
"output"}``, which ``OutputFile`` answers. A worker is told no name there.

A worker answers each command (not ``InputNews``) with ``{"event": "started"}``, any number of ``{"event": "progress",
"bytes_in", "bytes_out", "bytes_expected"}``, then one ``{"event": "done", ...}`` or ``{"event": "error", "code",
"message"}``, with a ``"traceback"`` for the log when the function raised something of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from io import FileIO
from typing import Any

# A larger input or output goes by a file.
INLINE_BYTES = 1 << 20


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
        path: of a file or folder; the worker is not told it of one that was sent.
        name: what the user calls it, without the folders above it.
        folder: it is a folder, or (when it was sent) the tar file of one.
        sent: it is a copy in the spool, not the user's own file.
        grows: it is still on its way; ``InputNews`` tell how far it is.
        size_bytes: of one that grows, when it was announced.
        data: the bytes themselves, instead of a file.
        file: the file in the spool, open, as the worker has it.
    """

    path: str
    name: str
    folder: bool = False
    sent: bool = False
    grows: bool = False
    size_bytes: int | None = None
    data: bytes | None = None
    file: FileIO | None = None


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
        target: path of the output, ``None`` for a function without one; the worker is not told it of one in the spool.
        spooled: the target is in the spool: it can be read while it grows, is summed up, and flushed to the disk
            before the job counts as done.
        inline: an output of up to ``INLINE_BYTES`` comes with the answer, and there is no file.
    """

    job: str
    configuration: Configure
    parameters: dict[str, Any]
    source: Input | None
    target: str | None
    spooled: bool
    inline: bool = False


@dataclass(frozen=True, slots=True)
class OutputFile:
    """The file that a worker has asked for is there, or the error why it is not.

    Attributes:
        code: of the error, or nothing.
        message: of the error.
    """

    code: str = ""
    message: str = ""


Command = Configure | Process
Message = Command | InputNews | OutputFile


def encode(message: Message) -> bytes:
    """One line, and what follows it."""
    values, data = _plain(message), b""
    if isinstance(message, Process):
        values["configuration"] = _plain(message.configuration)
        values["target"] = None if message.spooled else message.target
        if message.source is not None:
            values["source"] = source = _plain(message.source)
            if message.source.sent:
                source["path"] = ""
            if message.source.data is not None:
                data, source["data"] = message.source.data, None
                values["data_bytes"] = len(data)
    return json.dumps({"do": type(message).__name__.lower(), **values}).encode() + b"\n" + data


def _plain(message: Message | Input) -> dict[str, Any]:
    """Its fields; ``dataclasses.asdict`` would copy every one in depth."""
    return {field.name: getattr(message, field.name) for field in fields(message)}


def decode(line: bytes, read: Callable[[int], bytes], take: Callable[[], FileIO]) -> Message:
    """The message of one line; ``read`` gives so many bytes of what follows it, ``take`` the file that came with it."""
    values = json.loads(line)
    kind = values.pop("do")
    if kind == "inputnews":
        return InputNews(**values)
    if kind == "outputfile":
        return OutputFile(**values)
    if kind == "configure":
        return Configure(**values)
    data_bytes = values.pop("data_bytes", None)
    source = None if values["source"] is None else Input(**values["source"])
    if source is not None and data_bytes is not None:
        source = replace(source, data=read(data_bytes))
    elif source is not None and source.sent:
        source = replace(source, file=take())
    return Process(**{**values, "configuration": Configure(**values["configuration"]), "source": source})
