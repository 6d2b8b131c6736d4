"""What the node remembers in its database: one row a configuration, a job, an upload. Plain data."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from acceleratorAPI.protocol.records import JobState

KEYS_KEPT_S = 24 * 3600.0


def now() -> str:
    """The time, as records hold it."""
    return iso(datetime.now(UTC))


def iso(when: datetime) -> str:
    """A UTC time, as records hold it."""
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class ConfigurationRow:
    """A configured function.

    Attributes:
        parameters: the request's, masked, as JSON text.
        function_parameters: those of ``configure``, masked, as JSON text.
        masked: ``function_parameters`` lacks secrets: after a restart the function cannot be configured from it.
        used: it is the active configuration.
        stopped: ``stop`` was called since; it can no longer be used.
        result: ``app`` as JSON text.
        datafile: spool name.
        datafile_name: the client's name of the file.
    """

    accelerator: str
    created: str
    parameters: str
    function_parameters: str
    masked: bool = False
    used: bool = False
    stopped: bool = False
    inerror: bool = False
    errorcode: str | None = None
    processed_date: str | None = None
    result: str | None = None
    datafile: str | None = None
    datafile_name: str | None = None
    id: int = 0


@dataclass(slots=True)
class JobRow:
    """One job. A ``running`` job's row still says ``queued``: what it is doing is known to the living node only.

    Attributes:
        parameters: the request's, masked, as JSON text.
        function_parameters: those of ``process``, masked, as JSON text.
        masked: ``function_parameters`` lacks secrets: after a restart the job cannot be run from it.
        attempts: how often a node has begun with it.
        source: path of an input read in place.
        target: path of an output written in place.
        folder: the input is a folder, or the tar file of one.
        input: spool name.
        input_name: the client's name of the file, or the path read in place.
        input_bytes: size of the input, ``None`` when it is not known or there is none.
        input_crc32c: of an input that came with its request and is not flushed; ``None`` when it need not be checked.
        boot: the machine's run in which it came.
        output: spool name; the file exists once the job has succeeded.
        crc32c: of the output in the spool.
        result: ``app`` as JSON text.
        inline: the input came with a request that waits for the output: neither need be in the spool.
        client: id of the token it was sent with; empty on a node that asks for none.
    """

    configuration: int
    accelerator: str
    created: str
    parameters: str
    function_parameters: str = "{}"
    masked: bool = False
    attempts: int = 1
    source: str | None = None
    target: str | None = None
    folder: bool = False
    state: JobState = "queued"
    errorcode: str | None = None
    processed_date: str | None = None
    result: str | None = None
    input: str | None = None
    input_name: str | None = None
    input_bytes: int | None = None
    input_crc32c: int | None = None
    boot: str = ""
    output: str | None = None
    crc32c: int | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    inline: bool = False
    client: str = ""
    id: int = 0


@dataclass(slots=True)
class UploadRow:
    """An input that arrives in pieces.

    Attributes:
        id: random, and its name in the spool.
        expires: seconds since the epoch at which it goes when nothing was added since.
        boot: the machine's run in which ``offset`` was written.
        length: of the whole in bytes, ``None`` while it is not known.
        offset: how many bytes are there and right.
        crc32c: of these.
        complete: nothing is missing.
        partial: a part of another upload.
        metadata: the client's, as it came.
        client: as of a job.
    """

    id: str
    created: str
    expires: float
    boot: str
    length: int | None = None
    offset: int = 0
    crc32c: int = 0
    complete: bool = False
    partial: bool = False
    metadata: str = ""
    client: str = ""


@dataclass(frozen=True, slots=True)
class Once:
    """What makes a repeated request find the first one's job: the client's key, and what it stood for."""

    key: str
    fingerprint: str

    @property
    def expires(self) -> float:
        """Until when a key that is used now is kept, in seconds since the epoch."""
        return time.time() + KEYS_KEPT_S
