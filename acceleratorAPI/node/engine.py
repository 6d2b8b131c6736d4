"""Configurations and jobs: their life from request to record. Knows rows, spool and pool; knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from acceleratorAPI.errors import (
    AcceleratorError,
    FunctionFailedError,
    InputError,
    JobError,
    NodeBusyError,
    NotFoundError,
    StateError,
    WorkerCrashedError,
)
from acceleratorAPI.node import logs, results
from acceleratorAPI.node.commands import Configure, Process
from acceleratorAPI.node.database import Database
from acceleratorAPI.node.observer import Observer
from acceleratorAPI.node.pool import Call, Pool
from acceleratorAPI.node.rows import ConfigurationRow, JobRow, now
from acceleratorAPI.node.spool import Spool
from acceleratorAPI.protocol.records import App, JobState, Progress

log = logging.getLogger(__name__)

RESTARTED = "the node was restarted before this job ended; send it again"
STOPPED = "the accelerator was stopped before this job ended; start it and send the job again"


@dataclass(eq=False)
class LiveJob:
    """A job that has not ended."""

    row: JobRow
    call: Call
    bytes_in: int = 0
    bytes_out: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def state(self) -> JobState:
        """Queued or running."""
        return "running" if self.call.running else "queued"


class Engine:
    """Everything a node does for its clients."""

    def __init__(
        self,
        database: Database,
        spool: Spool,
        pool: Pool,
        observer: Observer,
        *,
        queue: int,
        legacy_profiling: bool,
    ) -> None:
        self._database = database
        self._spool = spool
        self._pool = pool
        self._observer = observer
        self._queue = queue
        self._legacy_profiling = legacy_profiling
        self._live: dict[int, LiveJob] = {}
        self._commands: dict[int, Configure] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._arriving = 0
        self.draining = False

    @property
    def live(self) -> list[LiveJob]:
        """The jobs that have not ended, oldest first."""
        return list(self._live.values())

    @property
    def arriving_jobs(self) -> int:
        """How many jobs have a place but not all of their input yet."""
        return self._arriving

    async def restore(self) -> None:
        """Take up what the database holds: jobs that had not ended have failed, configurations go on."""
        keep: set[str] = set()
        for job in await self._database.all(JobRow):
            if job.state == "queued":
                self._fail(job, WorkerCrashedError(RESTARTED))
                await self._database.update(job)
            elif job.output:
                keep.add(job.output)
        for row in await self._database.all(ConfigurationRow):
            if not row.processed_date:
                row.processed_date, row.inerror, row.errorcode = now(), True, JobError.code
                row.result = results.failed("the node was restarted; configure again").model_dump_json()
                await self._database.update(row)
            elif row.masked and not row.stopped:
                # Its parameters held a secret, which is not on the disk.
                row.used, row.stopped = False, True
                await self._database.update(row)
            if row.datafile:
                keep.add(row.datafile)
            self._commands[row.id] = self._command(row, json.loads(row.function_parameters))
        orphans = self._spool.sweep(keep)
        if orphans:
            log.info("removed %d spool files of unfinished requests", orphans)

    @contextlib.contextmanager
    def arriving(self) -> Iterator[None]:
        """A place in the queue for a job whose input is still on its way.

        Raises:
            NodeBusyError: the queue is full or the node is ending.
        """
        if self.draining:
            raise NodeBusyError("the node is ending; try again on another one")
        waiting = self._arriving + sum(not job.call.running for job in self._live.values())
        if waiting - self._pool.idle >= self._queue:
            raise NodeBusyError(f"{waiting} jobs are waiting already (--queue {self._queue}); try again later")
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1

    def _command(self, row: ConfigurationRow, parameters: dict[str, Any]) -> Configure:
        datafile = str(self._spool.path(row.datafile)) if row.datafile else None
        return Configure(str(row.id), row.accelerator, parameters, datafile)

    async def configure(self, row: ConfigurationRow, parameters: dict[str, Any]) -> ConfigurationRow:
        """Configure a function with its full ``parameters``; the row says how it went."""
        await self._database.insert(row)
        logs.note(configuration=row.id, function=row.accelerator)
        command = self._command(row, parameters)
        call = Call(command)
        try:
            self._pool.submit(call, first=True)
            app = results.configured(await call.answer)
            row.used = True
        except AcceleratorError as error:
            app = results.failed(str(error))
            row.inerror, row.errorcode = True, error.code
            self._spool.remove(row.datafile)
            row.datafile = None
        row.processed_date = now()
        row.result = app.model_dump_json()
        self._commands[row.id] = command
        await self._database.update(row)
        self._observer.configured(row, call)
        log.info("configuration %d: %s %s", row.id, row.accelerator, row.errorcode or "ready")
        return row

    async def usable(self, number: int | None) -> ConfigurationRow:
        """The configuration to process with: the one of that id, or the active one.

        Raises:
            InputError: there is none of that id.
            StateError: it is stopped or failed, or none is active.
        """
        if number is None:
            row = await self._database.active()
            if row is None:
                raise StateError("no configuration is active: start first (POST /v1.0/configuration/)")
            return row
        row = await self._database.get(ConfigurationRow, number)
        if row is None:
            raise InputError(f"configuration = {number}: there is no such configuration on this node")
        if row.inerror or not row.processed_date:
            raise StateError(f"configuration {number} did not succeed: start again (POST /v1.0/configuration/)")
        if row.stopped:
            raise StateError(f"configuration {number} was stopped: start again (POST /v1.0/configuration/)")
        return row

    async def submit(self, row: JobRow, parameters: dict[str, Any], source: str | None, target: str | None) -> None:
        """Queue a job.

        Args:
            row: names what lies in the spool.
            parameters: of ``process``, secrets included.
            source: path of an input outside of the spool.
            target: path of an output outside of the spool.

        Raises:
            StateError: the configuration was stopped while the request arrived.
        """
        configuration = self._commands.get(row.configuration)
        if configuration is None:
            raise StateError(f"configuration {row.configuration} was stopped: start again (POST /v1.0/configuration/)")
        await self._database.insert(row)
        logs.note(job=row.id, configuration=row.configuration, function=row.accelerator)
        source = source or (str(self._spool.path(row.input)) if row.input else None)
        # A user's own file is written like any other program would; the node's promises are flushed.
        durable = target is None
        target = target or (str(self._spool.path(row.output)) if row.output else None)
        call = Call(Process(configuration, parameters, source, target, durable))
        job = LiveJob(row, call)
        call.progress = lambda bytes_in, bytes_out: self._progress(job, bytes_in, bytes_out)
        self._live[row.id] = job
        task = asyncio.create_task(self._follow(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            self._pool.submit(call)
        except NodeBusyError as error:
            call.answer.set_exception(error)

    def _progress(self, job: LiveJob, bytes_in: int, bytes_out: int) -> None:
        self._observer.worked(bytes_in - job.bytes_in, bytes_out - job.bytes_out)
        job.bytes_in, job.bytes_out = bytes_in, bytes_out

    async def _follow(self, job: LiveJob) -> None:
        """From queued to ended: the file first, then the row, then whoever waits."""
        row, answer = job.row, None
        try:
            answer = await job.call.answer
            row.state, row.processed_date = "succeeded", now()
            row.bytes_in, row.bytes_out = answer["bytes_in"], answer["bytes_out"]
            row.result = results.processed(answer, legacy_profiling=self._legacy_profiling).model_dump_json()
        except AcceleratorError as error:
            row.bytes_in, row.bytes_out = job.bytes_in, job.bytes_out
            self._fail(row, error)
        except Exception:
            log.exception("job %d", row.id)
            row.bytes_in, row.bytes_out = job.bytes_in, job.bytes_out
            self._fail(row, FunctionFailedError(f"{row.accelerator} gave an answer the node cannot read"))
        self._spool.remove(row.input)
        row.input = None
        self._progress(job, row.bytes_in, row.bytes_out)
        self._observer.job_ended(row, job.call, answer)
        try:
            await self._database.update(row)
        finally:
            self._live.pop(row.id, None)
            job.ended.set()
        log.info("job %d: %s %s", row.id, row.accelerator, row.errorcode or row.state)

    def _fail(self, row: JobRow, error: AcceleratorError) -> None:
        row.state = "cancelled" if error.code == "cancelled" else "failed"
        row.errorcode, row.processed_date = error.code, now()
        row.result = results.failed(str(error)).model_dump_json()
        self._spool.remove(row.output)
        row.output = None

    async def job(self, number: int, wait_s: float = 0) -> JobRow:
        """A job's row, after waiting at most ``wait_s`` seconds for its end.

        Raises:
            NotFoundError: no such job.
        """
        live = self._live.get(number)
        if live is not None and wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(live.ended.wait(), wait_s)
        live = self._live.get(number)
        row = live.row if live is not None else await self._database.get(JobRow, number)
        if row is None:
            raise NotFoundError(f"there is no job {number} on this node")
        return row

    def progress(self, row: JobRow) -> Progress:
        """How far a job is."""
        live = self._live.get(row.id)
        if live is None:
            return Progress(
                state=row.state, bytes_in=row.bytes_in, bytes_total=row.input_bytes, bytes_out=row.bytes_out
            )
        return Progress(state=live.state, bytes_in=live.bytes_in, bytes_total=row.input_bytes, bytes_out=live.bytes_out)

    async def delete(self, number: int) -> None:
        """Cancel a job when it has not ended; remove its record and files.

        Raises:
            NotFoundError: no such job.
        """
        live = self._live.get(number)
        if live is not None:
            self._pool.cancel(live.call, f"job {number} was deleted")
            await live.ended.wait()
        row = await self.job(number)
        await self._database.delete_job(number)
        self._spool.remove(row.input, row.output)
        log.info("job %d: deleted", number)

    async def stop(self) -> App:
        """Cancel every job, drop every configuration with its file."""
        jobs = list(self._live.values())
        await self._cancel(jobs, STOPPED)
        names = await self._database.stop_configurations()
        self._commands.clear()
        self._spool.remove(*names)
        self._pool.reset()
        log.info("stopped; %d jobs cancelled", len(jobs))
        specific = {"Metering": results.NO_METERING, "cancelled": len(jobs)}
        return App(status=0, msg="==> SUCCESS <==\n", specific=specific)

    async def drain(self) -> None:
        """Take no more work, cancel what there is and end the workers."""
        self.draining = True
        await self._cancel(list(self._live.values()), "the node was ended before this job was done; send it again")
        await self._pool.close()

    async def _cancel(self, jobs: list[LiveJob], reason: str) -> None:
        for job in jobs:
            self._pool.cancel(job.call, reason)
        for job in jobs:
            await job.ended.wait()
