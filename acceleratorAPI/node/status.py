"""The node at a glance, for ``GET /v2/node`` and ``/metrics``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from acceleratorAPI.node.clients import Client
from acceleratorAPI.node.commands import Configure
from acceleratorAPI.node.live import LiveJob
from acceleratorAPI.node.service import Service
from acceleratorAPI.node.settings import Settings, is_loopback
from acceleratorAPI.node.slot import Call, Slot
from acceleratorAPI.node.tally import WINDOW_S
from acceleratorAPI.protocol.status import (
    JobCounts,
    JobStatus,
    NodeStatus,
    ProcessUse,
    QueueStatus,
    Rates,
    SlotStatus,
    SpoolStatus,
    Totals,
)

_SHOWN_JOBS = 100
# Counting a big spool may take this share of a core, whoever asks how often.
_COUNTING_SHARE = 0.05


class SpoolCount:
    """What lies in the spool, counted again when the last count is old enough."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: SpoolStatus | None = None
        self._good_until = 0.0

    def read(self) -> SpoolStatus:
        """The count; the free space is always that of now."""
        if self._last is None or time.monotonic() >= self._good_until:
            started = time.monotonic()
            self._last = _spool(self._folder)
            ended = time.monotonic()
            self._good_until = ended + (ended - started) / _COUNTING_SHARE
        disk = os.statvfs(self._folder)
        return self._last.model_copy(update={"free_bytes": disk.f_bavail * disk.f_frsize})


async def status(service: Service, spool_count: SpoolCount, client: Client) -> NodeStatus:
    """How the node of ``service`` is now; jobs are named to those who may see them."""
    engine, pool, tally = service.engine, service.pool, service.observer.tally
    processes = {"node": os.getpid(), **{f"worker-{slot.number}": slot.pid for slot in pool.slots if slot.pid}}
    # Folders and /proc are read in a thread: a slow disk must not stop the event loop.
    spool, used = await asyncio.get_running_loop().run_in_executor(
        service.spool.threads, lambda: (spool_count.read(), _processes(processes))
    )
    live = engine.live
    mine = [job for job in live if client.sees(job.row.client)]
    by_call = {job.call: job for job in mine}
    counts = dict.fromkeys(JobCounts.model_fields, 0)
    for (_, state), count in tally.jobs.items():
        counts[state] += count
    for job in live:
        counts[job.state] += 1
    return NodeStatus(
        version=version("acceleratorAPI"),
        started=_iso(tally.started),
        uptime_s=round(time.time() - tally.started, 3),
        draining=engine.admission.draining or bool(service.lease.notice),
        notice=service.lease.notice,
        accelerator=service.settings.accelerator,
        fpga_image=engine.configurations.fpga_image,
        functions=sorted(entry.name for entry in service.catalogue),
        slots=[_slot(slot, by_call) for slot in pool.slots],
        queue=QueueStatus(waiting=pool.waiting, arriving=engine.admission.arriving, limit=service.settings.queue),
        jobs=JobCounts(**counts),
        uploads_open=tally.uploads,
        live=[_job(job) for job in mine[:_SHOWN_JOBS]],
        recent=[shown for whose, shown in service.observer.recent if client.sees(whose)],
        totals=Totals(
            bytes_in=tally.bytes_in,
            bytes_out=tally.bytes_out,
            kernel_s=sum(tally.kernel_seconds.values()),
            received_bytes=tally.received,
            sent_bytes=tally.sent,
            requests=tally.requests.total(),
            worker_crashes=pool.crashes,
        ),
        rates=Rates(window_s=WINDOW_S, **tally.minute.rates()),
        spool=spool,
        processes=used,
        protection=_protection(service.settings),
    )


def _slot(slot: Slot, jobs: dict[Call, LiveJob]) -> SlotStatus:
    found = SlotStatus(
        number=slot.number, state="idle" if slot.alive else "starting", since=_iso(slot.since), pid=slot.pid
    )
    if slot.call is not None:
        job = jobs.get(slot.call)
        found.state = "configuring" if isinstance(slot.call.command, Configure) else "running"
        found.job = None if job is None else str(job.row.id)
        found.function = slot.call.function
    return found


def _job(job: LiveJob) -> JobStatus:
    row = job.row
    return JobStatus(
        id=str(row.id),
        function=row.accelerator,
        state=job.state,
        created=row.created,
        input=row.input_name,
        bytes_in=job.bytes_in,
        bytes_total=row.input_bytes,
        bytes_out=job.bytes_out,
        elapsed_s=job.call.worked_s,
    )


def _protection(settings: Settings) -> dict[str, Any]:
    return {
        "auth": settings.auth,
        "loopback_only": is_loopback(settings.host),
        "files_under": [str(folder) for folder in settings.files_under],
    }


def _spool(folder: Path) -> SpoolStatus:
    """Count the files. One that goes meanwhile does not count."""
    files = used = 0
    folders = [folder]
    while folders:
        with contextlib.suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                    continue
                with contextlib.suppress(FileNotFoundError):
                    files, used = files + 1, used + entry.stat(follow_symlinks=False).st_blocks * 512
    return SpoolStatus(files=files, used_bytes=used, free_bytes=0)


def _processes(pids: dict[str, int]) -> list[ProcessUse]:
    found = []
    for name, pid in pids.items():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            with process.oneshot():
                times = process.cpu_times()
                rss = process.memory_info().rss
            found.append(ProcessUse(name=name, pid=pid, cpu_s=times.user + times.system, rss_bytes=rss))
    return found


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
