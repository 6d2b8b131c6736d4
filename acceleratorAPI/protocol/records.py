"""The records of the node's REST API: v1.0's fields, and the additions old clients ignore."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]

RecordT = TypeVar("RecordT")


class App(BaseModel):
    """The function's answer. ``status`` 0 is success; else ``msg`` says what went wrong."""

    status: int
    msg: str
    specific: dict[str, Any] = {}
    profiling: dict[str, Any] = {}


class ParametersResult(BaseModel):
    """``parametersresult``: an object whose Python ``str()`` is a literal, as the oldest clients need."""

    app: App


class Progress(BaseModel):
    """How far a job is.

    Attributes:
        state: queued also means that the input is still fetched from its URL.
        bytes_in: read by the function.
        bytes_total: the input's size, ``None`` when there is no input file, or nobody knows yet.
        bytes_out: written by the function.
        bytes_expected: what these will be, while the job runs and when the function has said.
        bytes_fetched: of an input that the node reads from a URL; ``None`` for any other, and when the job has ended.
        bytes_delivered: of an output that the node writes to a URL; the same.
    """

    state: JobState
    bytes_in: int = 0
    bytes_total: int | None = None
    bytes_out: int = 0
    bytes_expected: int | None = None
    bytes_fetched: int | None = None
    bytes_delivered: int | None = None


class ConfigurationRecord(BaseModel):
    """A configured function. ``used`` is true while it is the node's active configuration."""

    id: str
    url: str
    accelerator: str
    created: str
    used: bool
    processed: bool
    processed_date: str | None
    inerror: bool
    errorcode: str | None
    parameters: str
    parametersresult: ParametersResult | None
    datafile: str | None


class ProcessRecord(BaseModel):
    """One job. ``processed`` or ``inerror`` says that it has ended; ``datafileresult`` is where the output is."""

    id: str
    url: str
    configuration: str
    created: str
    processed: bool
    processed_date: str | None
    inerror: bool
    errorcode: str | None
    parameters: str
    parametersresult: ParametersResult | None
    datafile: str | None
    datafileresult: str | None
    progress: Progress


class Page(BaseModel, Generic[RecordT]):
    """One page of a list, newest record first.

    ``next`` and ``previous`` are empty at the ends: the historical Swagger declares required text,
    and clients generated from it refuse ``null``.
    """

    count: int
    next: str
    previous: str
    results: list[RecordT]


class JobRequest(BaseModel):
    """What ``POST /v2/jobs`` asks for.

    Attributes:
        configuration: url or id of a configuration; absent: the active one.
        parameters: of the function.
        upload: url or id of an upload, complete or not: the job begins with its first bytes.
        source: instead, a file of the node's machine: absolute path or file:// URL; or a URL that the node reads.
        target: where on the node's machine, or to which URL, the output goes, instead of being kept for download.
        folder: the input is a folder: as ``source``, or as an upload that is a tar of it.
        name: the user's name of the input.
    """

    model_config = ConfigDict(extra="forbid")

    configuration: str | None = None
    parameters: dict[str, Any] = {}
    upload: str | None = None
    source: str | None = None
    target: str | None = None
    folder: bool = False
    name: str | None = None


class Failure(BaseModel):
    """Why a job ended without a result."""

    code: str
    detail: str


class ResultFile(BaseModel):
    """A job's output, as it can be fetched. ``crc32c`` is 8 hexadecimal digits."""

    url: str
    size_bytes: int
    crc32c: str | None


class JobRecord(BaseModel):
    """One job, in version 2."""

    id: str
    url: str
    configuration: str
    accelerator: str
    created: str
    ended: str | None
    attempts: int
    input_name: str | None
    progress: Progress
    app: App | None
    result: ResultFile | None
    failure: Failure | None


class Lease(BaseModel):
    """Whose life the node's hangs on.

    Attributes:
        owner_pid: a process of this machine; when it is gone, so is the node. ``None``: nobody's.
        at_end: what the node does then: ``terminate`` also removes its files, ``stop`` keeps them.
        seconds: from now until the machine ends itself, unless the lease is renewed; only where the node was
            started with ``--lease-file``. An answer says how long is left.
        extend: never make shorter what is in force.
        notice: in an answer: why the machine is about to be taken away whatever the lease is; empty while it is not.
    """

    owner_pid: int | None = None
    at_end: Literal["terminate", "stop"] = "terminate"
    seconds: float | None = Field(default=None, gt=0, le=366 * 86400)
    extend: bool = False
    notice: str = ""


class Problem(BaseModel):
    """The one shape of an error answer (RFC 9457, ``application/problem+json``).

    ``inerror``, ``errorcode`` and ``parametersresult`` repeat it for v1.0 clients, which look there.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    inerror: Literal[True] = True
    errorcode: str
    parametersresult: ParametersResult
