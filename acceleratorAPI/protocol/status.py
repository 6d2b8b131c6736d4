"""``GET /v2/node``: a node at a glance. Sizes in bytes, times in seconds or ISO 8601 UTC, counts since its start."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from acceleratorAPI.protocol.records import JobState


class JobStatus(BaseModel):
    """A job that waits, runs or ended lately. ``elapsed_s``: of work, waiting not counted."""

    id: str
    function: str
    state: JobState
    created: str
    ended: str | None = None
    input: str | None = None
    bytes_in: int = 0
    bytes_total: int | None = None
    bytes_out: int = 0
    elapsed_s: float = 0.0
    errorcode: str | None = None


class SlotStatus(BaseModel):
    """A place for one job. ``job`` is set while one runs; a configuration has only a ``function``."""

    number: int
    state: Literal["starting", "idle", "configuring", "running"]
    since: str
    pid: int | None = None
    job: str | None = None
    function: str | None = None


class QueueStatus(BaseModel):
    """Jobs that wait. ``arriving``: those whose input is still being sent."""

    waiting: int
    arriving: int
    limit: int


class JobCounts(BaseModel):
    """Jobs by state: now, and since the node's start."""

    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0


class Totals(BaseModel):
    """What functions read and wrote, how long kernels ran, what went over the network."""

    bytes_in: int
    bytes_out: int
    kernel_s: float
    received_bytes: int
    sent_bytes: int
    requests: int
    worker_crashes: int


class Rates(BaseModel):
    """Per second, over the last ``window_s`` seconds (or the node's life when that is shorter)."""

    window_s: int
    jobs: float = 0.0
    requests: float = 0.0
    bytes_in: float = 0.0
    bytes_out: float = 0.0
    received: float = 0.0
    sent: float = 0.0


class SpoolStatus(BaseModel):
    """The node's files, and the free space of their disk."""

    files: int
    used_bytes: int
    free_bytes: int


class ProcessUse(BaseModel):
    """What one process of the node uses: ``node``, or ``worker-N`` by its slot."""

    name: str
    pid: int
    cpu_s: float
    rss_bytes: int


class NodeStatus(BaseModel):
    """Everything.

    Attributes:
        draining: the node ends and takes no more work.
        notice: why the node's machine is about to be taken away, and no more work is taken; empty while it is not.
        fpga_image: id of the FPGA image that the active configuration named (``env.AGFI``); it need not be loaded.
        uploads_open: request bodies on their way in.
        live: jobs that wait or run, oldest first, at most a hundred.
        recent: jobs that ended last, newest first.
        protection: what guards the node, by name.
    """

    version: str
    started: str
    uptime_s: float
    draining: bool
    notice: str = ""
    accelerator: str | None
    fpga_image: str | None = None
    functions: list[str]
    slots: list[SlotStatus]
    queue: QueueStatus
    jobs: JobCounts
    uploads_open: int
    live: list[JobStatus]
    recent: list[JobStatus]
    totals: Totals
    rates: Rates
    spool: SpoolStatus
    processes: list[ProcessUse]
    protection: dict[str, Any]
    inerror: Literal[False] = False
