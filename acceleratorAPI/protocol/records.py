"""The records of the node's REST API: v1.0's fields, and the additions old clients ignore."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel

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
    """How far a job is. ``bytes_total`` is the input's size, ``None`` when there is no input file."""

    state: JobState
    bytes_in: int = 0
    bytes_total: int | None = None
    bytes_out: int = 0


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


class Lease(BaseModel):
    """Whose life the node's hangs on.

    Attributes:
        owner_pid: a process of this machine; when it is gone, so is the node. ``None``: nobody's.
        at_end: what the node does then: ``terminate`` also removes its files, ``stop`` keeps them.
    """

    owner_pid: int | None = None
    at_end: Literal["terminate", "stop"] = "terminate"


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
