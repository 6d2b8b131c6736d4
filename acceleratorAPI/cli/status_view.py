"""A node's status as text for people: names on the left, a line a job."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from acceleratorAPI.protocol.status import JobStatus, NodeStatus

_ENDED_SHOWN = 5
_BAR = 20


def text(status: NodeStatus, where: str) -> str:
    """Several lines about the node at ``where``."""
    facts = list(_facts(status, where))
    width = max(len(name) for name, _ in facts)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in facts)


def _facts(status: NodeStatus, where: str) -> Iterator[tuple[str, str]]:
    state = status.notice or ("ending" if status.draining else "taking work")
    yield "node", f"{where}, version {status.version}, up {duration(status.uptime_s)}, {state}"
    yield "functions", ", ".join(status.functions)
    if status.fpga_image:
        yield "FPGA image", f"{status.fpga_image}, as the configuration names it"
    for slot in status.slots:
        doing: str = slot.state
        if slot.function:
            doing = f"job {slot.job}, {slot.function}" if slot.job else f"configuring {slot.function}"
        yield f"slot {slot.number + 1}", f"{doing}, {duration(_since(status, slot.since))}"
    queue = status.queue
    yield "queue", f"{queue.waiting} of {queue.limit} waiting, {status.uploads_open} uploads open"
    jobs = status.jobs
    yield "jobs", f"{jobs.succeeded} succeeded, {jobs.failed} failed, {jobs.cancelled} cancelled"
    for job in [*status.live, *status.recent[:_ENDED_SHOWN]]:
        yield f"job {job.id}", _job(job)
    rates, totals, spool = status.rates, status.totals, status.spool
    yield "rate", f"{size(rates.bytes_in)}/s in, {size(rates.bytes_out)}/s out, {rates.jobs * 60:.0f} jobs a minute"
    kernel = duration(totals.kernel_s)
    yield "total", f"{size(totals.bytes_in)} in, {size(totals.bytes_out)} out, {kernel} in kernels"
    received, sent = size(totals.received_bytes), size(totals.sent_bytes)
    yield "network", f"{received} received, {sent} sent, {totals.requests} requests"
    yield "spool", f"{size(spool.used_bytes)} used, files: {spool.files}, {size(spool.free_bytes)} free"
    memory, cpu = (sum(getattr(use, name) for use in status.processes) for name in ("rss_bytes", "cpu_s"))
    crashes = f", {totals.worker_crashes} worker crashes" if totals.worker_crashes else ""
    yield "processes", f"{size(memory)} memory, {duration(cpu)} processor time{crashes}"
    yield "protection", ", ".join(f"{name} {_word(value)}" for name, value in status.protection.items())


def _job(job: JobStatus) -> str:
    moved = f"{size(job.bytes_in)} in, {size(job.bytes_out)} out, {duration(job.elapsed_s)}"
    state: str = job.state
    if job.state == "running" and job.bytes_total:
        part = min(1.0, job.bytes_in / job.bytes_total)
        done = int(part * _BAR)
        state = f"[{'#' * done}{'.' * (_BAR - done)}] {part:4.0%}"
    elif job.errorcode:
        state += f" ({job.errorcode})"
    return f"{job.function}: {state}, {moved}"


def size(count: float) -> str:
    """Bytes, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} PB"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits."""
    for limit, step, unit in ((100, 1, "s"), (5400, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / step:.1f} {unit}"
    return f"{seconds / 86400:.1f} d"


def _since(status: NodeStatus, moment: str) -> float:
    """Seconds by the node's own clock."""
    passed = datetime.fromisoformat(moment) - datetime.fromisoformat(status.started)
    return max(0.0, status.uptime_s - passed.total_seconds())


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return str(value)
