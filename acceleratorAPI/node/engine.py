"""Configurations and jobs: their life from request to record. Knows rows, spool and pool; knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from acceleratorAPI.errors import (
    AcceleratorError,
    FunctionFailedError,
    InputError,
    JobCancelledError,
    JobError,
    KeyUsedError,
    NodeBusyError,
    NotFoundError,
    StateError,
    WorkerCrashedError,
)
from acceleratorAPI.node import logs, results
from acceleratorAPI.node.change import Change
from acceleratorAPI.node.commands import Configure, Input, InputNews, Process
from acceleratorAPI.node.courier import Courier
from acceleratorAPI.node.database import Database
from acceleratorAPI.node.observer import Observer
from acceleratorAPI.node.pool import Call, Pool
from acceleratorAPI.node.rows import ConfigurationRow, JobRow, iso, now
from acceleratorAPI.node.scratch import Scratch
from acceleratorAPI.node.settings import Settings
from acceleratorAPI.node.spool import Spool
from acceleratorAPI.node.uploads import Upload, Uploads
from acceleratorAPI.protocol.records import App, JobState, Progress

log = logging.getLogger(__name__)

RESTARTED = "the node was restarted before this job ended; send it again"
MAX_ATTEMPTS = 3
KEYS_KEPT_S = 24 * 3600.0
LONG_BYTES = 64 << 20
STALLED_S = 60.0
REMOVED = "the upload of the input was removed before it was complete"
KEY_USED = "Idempotency-Key: it was used for another request; take a new key for each job"
STOPPED = "the accelerator was stopped before this job ended; start it and send the job again"


@dataclass(frozen=True, slots=True)
class Once:
    """What makes a repeated request find the first one's job: the client's key, and what it stood for."""

    key: str
    fingerprint: str


@dataclass(eq=False)
class LiveJob:
    """A job that has not ended.

    Attributes:
        upload: its input, when that comes by itself.
        courier: carries what comes from a URL into the spool, or goes from there to a URL.
        bytes_out: in the output's file already.
        failed: its output will never be whole.
        put_back: it does not end with this node: the next run begins it again.
        stalled: it was taken from its slot, as its input did not come on.
        cancelled: why it is to end.
        change: any of these has changed.
    """

    row: JobRow
    call: Call
    upload: Upload | None = None
    courier: Courier | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    failed: bool = False
    put_back: bool = False
    stalled: bool = False
    cancelled: str | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    change: Change = field(default_factory=Change)

    @property
    def waits_for_input(self) -> bool:
        """Whether it can only go on when more of its input arrives."""
        return self.upload is not None and not self.upload.row.complete

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
        scratch: Scratch,
        uploads: Uploads,
        pool: Pool,
        observer: Observer,
        settings: Settings,
    ) -> None:
        self._database = database
        self._spool = spool
        self._scratch = scratch
        self._uploads = uploads
        self._pool = pool
        self._observer = observer
        self._settings = settings
        # A node with a store configures for nobody whom the store does not know.
        self._metered = settings.store is not None
        self._live: dict[int, LiveJob] = {}
        self._unwritten: dict[int, JobRow] = {}
        self._generation = 0
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
        """Take up what the database holds: configurations and uploads go on, jobs that had not ended begin again."""
        usable: set[str] = set()
        keep = await self._uploads.restore() | await self._database.outputs()
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
            if not row.stopped and not row.inerror:
                usable.add(str(row.id))
                self._commands[row.id] = self._command(row, json.loads(row.function_parameters))
        await self._scratch.keep_only(usable)
        living = await self._database.living_jobs()
        keep |= {job.input for job in living if job.input}
        orphans = self._spool.sweep(keep)
        if orphans:
            log.info("removed %d spool files of unfinished requests", orphans)
        for job in living:
            await self._begin_again(job)

    async def _begin_again(self, row: JobRow) -> None:
        """A job that an earlier run of this node had not ended."""
        row.attempts += 1
        upload = self._uploads.find(row.input) if row.input else None
        there = row.input is None or upload is not None or self._spool.path(row.input).exists()
        if row.masked or not there or row.configuration not in self._commands or row.attempts > MAX_ATTEMPTS:
            self._fail(row, WorkerCrashedError(RESTARTED))
            if upload is not None:
                await self._uploads.remove(upload)
            self._spool.remove(row.input)
            row.input = None
            await self._database.update(row)
            return
        await self._database.update(row)
        log.info("job %d: begins again, attempt %d", row.id, row.attempts)
        self._queue(row, json.loads(row.function_parameters), upload)

    @contextlib.contextmanager
    def arriving(self) -> Iterator[None]:
        """A place in the queue for a job whose input is still on its way.

        Raises:
            NodeBusyError: the queue is full or the node is ending.
        """
        if self.draining:
            raise NodeBusyError("the node is ending; try again on another one")
        waiting = self._arriving + sum(not job.call.running for job in self._live.values())
        limit = self._settings.queue
        if waiting - self._pool.idle >= limit:
            raise NodeBusyError(f"{waiting} jobs are waiting already (--queue {limit}); try again later")
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1

    def _command(self, row: ConfigurationRow, parameters: dict[str, Any]) -> Configure:
        datafile = str(self._spool.path(row.datafile)) if row.datafile else None
        key = str(row.id)
        return Configure(key, row.accelerator, parameters, datafile, str(self._scratch.path(key)))

    async def configure(self, row: ConfigurationRow, parameters: dict[str, Any]) -> ConfigurationRow:
        """Configure a function with its full ``parameters``; the row says how it went."""
        await self._database.insert(row)
        logs.note(configuration=row.id, function=row.accelerator)
        command = self._command(row, parameters)
        call, generation = Call(command), self._generation
        try:
            self._pool.submit(call, first=True)
            app = results.configured(await call.answer, metered=self._metered)
            if generation != self._generation:
                raise JobCancelledError(STOPPED)
            row.used = True
        except AcceleratorError as error:
            app = results.failed(str(error))
            row.inerror, row.errorcode = True, error.code
            self._spool.remove(row.datafile)
            row.datafile = None
            await self._scratch.remove(str(row.id))
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

    async def submit(
        self,
        row: JobRow,
        parameters: dict[str, Any],
        upload: Upload | None = None,
        once: Once | None = None,
        courier: Courier | None = None,
    ) -> JobRow:
        """Queue a job, or find the one that was queued ``once`` before.

        Args:
            row: names what it reads and writes.
            parameters: of ``process``, secrets included.
            upload: the input, when it comes by itself.
            once: of a request that may be repeated.
            courier: carries what the job reads from or writes to URLs.

        Raises:
            StateError: the configuration was stopped while the request arrived, or another job reads the upload.
            KeyUsedError: the key was used for something else.
        """
        if row.configuration not in self._commands:
            raise StateError(f"configuration {row.configuration} was stopped: start again (POST /v1.0/configuration/)")
        if upload is not None and any(job.upload is upload for job in self._live.values()):
            if once is not None and (same := await self.known(once)) is not None:
                return same
            raise StateError(f"another job reads upload {upload.row.id}: send the input again for this one")
        if once is not None:
            expires = time.time() + KEYS_KEPT_S
            number, fingerprint = await self._database.insert_once(row, once.key, once.fingerprint, expires)
            if fingerprint != once.fingerprint:
                raise KeyUsedError(KEY_USED)
            if not row.id:
                return await self.job(number)
        else:
            await self._database.insert(row)
        if row.configuration not in self._commands:
            # Stopped while the row was written: nobody would ever end it.
            self._fail(row, JobCancelledError(STOPPED))
            await self._database.update(row)
            raise StateError(STOPPED)
        self._queue(row, parameters, upload, courier)
        return row

    async def known(self, once: Once) -> JobRow | None:
        """The job that was queued ``once`` before, if there is one.

        Raises:
            KeyUsedError: the key was used for something else.
        """
        found = await self._database.answer(once.key)
        if found is None:
            return None
        number, fingerprint = found
        if fingerprint != once.fingerprint:
            raise KeyUsedError(KEY_USED)
        return await self.job(number)

    def _queue(
        self, row: JobRow, parameters: dict[str, Any], upload: Upload | None, courier: Courier | None = None
    ) -> None:
        """Into the pool, at once or when its input has been fetched: from here on the job is living."""
        grows = upload is not None and not upload.row.complete
        target = row.target or (str(self._spool.path(row.output)) if row.output else None)
        command = Process(
            str(row.id),
            self._commands[row.configuration],
            parameters,
            self._input(row, grows=grows),
            target,
            # A user's own file is written like any other program would; the node's promises are flushed, and can
            # be read while they grow.
            spooled=row.target is None,
        )
        logs.note(job=row.id, configuration=row.configuration, function=row.accelerator)
        job = LiveJob(row, Call(command), upload, courier)
        self._live[row.id] = job
        if courier is None:
            self._enter(job)
        self._background(self._follow(job))

    def _enter(self, job: LiveJob) -> None:
        """Give the job to the pool, as its input is now."""
        upload, size = job.upload, job.row.input_bytes
        command = job.call.command
        assert isinstance(command, Process)
        grows = upload is not None and not upload.row.complete
        if command.source is not None and command.source.grows and not grows:
            command = replace(command, source=self._input(job.row, grows=False))
        job.call = Call(command, long=grows or size is None or size > LONG_BYTES)
        job.call.progress = lambda bytes_in, bytes_out: self._progress(job, bytes_in, bytes_out)
        # Also one that ends before it begins: nothing must wait for it for ever.
        started = job.call.started
        job.call.answer.add_done_callback(lambda _: started.set())
        if grows and upload is not None:
            self._background(self._feed(job, upload))
        try:
            self._pool.submit(job.call)
        except NodeBusyError as error:
            job.call.answer.set_exception(error)

    def _input(self, row: JobRow, *, grows: bool) -> Input | None:
        """What the worker reads for a job."""
        if row.source is not None:
            return Input(row.source, os.path.basename(row.source), row.folder)
        if row.input is None:
            return None
        name = os.path.basename((row.input_name or "").replace("\\", "/"))
        return Input(str(self._spool.path(row.input)), name, row.folder, True, grows, row.input_bytes)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _feed(self, job: LiveJob, upload: Upload) -> None:
        """Tell the worker how far the job's input is, until it is complete."""
        await job.call.started.wait()
        while not job.ended.is_set():
            row = upload.row
            job.row.input_bytes = row.length
            slot = job.call.slot
            if slot is None:
                return
            slot.tell(InputNews(row.offset, complete=row.complete, removed=upload.removed))
            if row.complete or upload.removed:
                return
            try:
                async with asyncio.timeout(STALLED_S):
                    await upload.change.wait()
            except TimeoutError:
                # Its slot is for others; it begins again when all of its input is there.
                log.info("job %d: its input has stalled", job.row.id)
                job.stalled = True
                self._pool.cancel(job.call, "its input has stalled")
                return

    async def _begin_when_whole(self, job: LiveJob) -> None:
        """A job whose input stalled: into the pool again, once it can run without waiting."""
        upload = job.upload
        assert upload is not None
        while not (upload.row.complete or upload.removed or job.cancelled):
            await upload.change.wait()
        if job.cancelled:
            raise JobCancelledError(job.cancelled)
        if upload.removed:
            raise InputError(REMOVED)
        job.stalled = False
        self._enter(job)

    def _progress(self, job: LiveJob, bytes_in: int, bytes_out: int) -> None:
        self._observer.worked(bytes_in - job.bytes_in, bytes_out - job.bytes_out)
        job.bytes_in, job.bytes_out = bytes_in, bytes_out
        job.change.notify()

    async def _follow(self, job: LiveJob) -> None:
        """From queued to ended: the file first, then the row, then whoever waits."""
        row, answer = job.row, None
        try:
            answer = await self._carried(job, job.courier) if job.courier else await self._answer(job)
            row.state, row.processed_date = "succeeded", now()
            row.bytes_in, row.bytes_out = answer["bytes_in"], answer["bytes_out"]
            row.crc32c = answer["crc32c"]
            if row.input_bytes is None and row.input is not None:
                row.input_bytes = row.bytes_in
            if not answer["has_output"]:
                row.output, row.bytes_out = None, 0
            legacy = self._settings.legacy_profiling
            row.result = results.processed(answer, legacy_profiling=legacy, metered=self._metered).model_dump_json()
        except AcceleratorError as error:
            row.bytes_in, row.bytes_out = job.bytes_in, job.bytes_out
            removed = job.upload is not None and job.upload.removed and not job.cancelled
            self._fail(row, InputError(REMOVED) if removed else error)
        except Exception:
            log.exception("job %d", row.id)
            row.bytes_in, row.bytes_out = job.bytes_in, job.bytes_out
            self._fail(row, FunctionFailedError(f"{row.accelerator} gave an answer the node cannot read"))
        if job.put_back and row.state != "succeeded":
            # The row on the disk still says "queued": the node's next run begins it again.
            self._live.pop(row.id, None)
            job.failed = True
            job.ended.set()
            job.change.notify()
            return
        if job.upload is not None:
            await self._uploads.forget(job.upload)
        self._spool.remove(row.input)
        row.input = None
        job.failed = row.state != "succeeded"
        self._progress(job, row.bytes_in, row.bytes_out)
        self._observer.job_ended(row, job.call, answer)
        try:
            await self._database.update(row, without_upload=job.upload.row.id if job.upload is not None else None)
        except Exception:
            # Its row still says "queued": it begins again at the next start. Until then it is known as it ended.
            log.exception("job %d: its end could not be written", row.id)
            self._unwritten[row.id] = row
        self._live.pop(row.id, None)
        job.ended.set()
        job.change.notify()
        log.info("job %d: %s %s", row.id, row.accelerator, row.errorcode or row.state)

    async def _carried(self, job: LiveJob, courier: Courier) -> dict[str, Any]:
        """The answer to a job with URLs: its input is fetched before it, its output delivered after it."""
        row, command = job.row, job.call.command
        assert isinstance(command, Process)
        if row.input is not None and courier.bytes_fetched is not None:
            await courier.fetch(self._spool.path(row.input))
            row.input_bytes = courier.bytes_fetched
            job.call.command = replace(command, source=self._input(row, grows=False))
        self._enter(job)
        answer = await self._answer(job)
        if job.cancelled:
            raise JobCancelledError(job.cancelled)
        if row.output is not None and courier.bytes_delivered is not None:
            if answer["has_output"]:
                await courier.deliver(self._spool.path(row.output))
            self._spool.remove(row.output)
            row.output = None
        return answer

    async def _answer(self, job: LiveJob) -> dict[str, Any]:
        while True:
            try:
                return await job.call.answer
            except JobCancelledError:
                if not job.stalled or job.cancelled:
                    raise
            job.bytes_in = job.bytes_out = 0
            await self._begin_when_whole(job)

    def _fail(self, row: JobRow, error: AcceleratorError) -> None:
        row.state = "cancelled" if error.code == "cancelled" else "failed"
        row.errorcode, row.processed_date = error.code, now()
        row.result = results.failed(str(error)).model_dump_json()
        self._spool.remove(row.output)
        row.output = None

    def living(self, number: int) -> LiveJob | None:
        """The job of that id while it has not ended."""
        return self._live.get(number)

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
        row = live.row if live is not None else self._unwritten.get(number) or await self._database.get(JobRow, number)
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
        found = Progress(
            state=live.state, bytes_in=live.bytes_in, bytes_total=row.input_bytes, bytes_out=live.bytes_out
        )
        if live.courier is not None:
            found.bytes_total = found.bytes_total or live.courier.bytes_total
            found.bytes_fetched, found.bytes_delivered = live.courier.bytes_fetched, live.courier.bytes_delivered
        return found

    async def cancel(self, number: int) -> JobRow:
        """End a job; one that has ended stays as it is.

        Raises:
            NotFoundError: no such job.
        """
        live = self._live.get(number)
        if live is not None:
            await self._cancel([live], f"job {number} was cancelled")
        return await self.job(number)

    async def delete(self, number: int) -> None:
        """Cancel a job when it has not ended; remove its record and files.

        Raises:
            NotFoundError: no such job.
        """
        row = await self.cancel(number)
        await self._database.delete_job(number)
        self._spool.remove(row.input, row.output)
        log.info("job %d: deleted", number)

    async def stop(self) -> App:
        """Cancel every job, drop every configuration with its file."""
        # First of all, so that nothing begins while the jobs there are end.
        self._generation += 1
        self._commands.clear()
        names = await self._database.stop_configurations()
        jobs = list(self._live.values())
        await self._cancel(jobs, STOPPED)
        self._spool.remove(*names)
        await self._scratch.keep_only(())
        self._pool.reset()
        log.info("stopped; %d jobs cancelled", len(jobs))
        specific = {"Metering": results.metering(metered=self._metered), "cancelled": len(jobs)}
        return App(status=0, msg="==> SUCCESS <==\n", specific=specific)

    async def drain(self) -> None:
        """Take no more work, let what runs finish for a while, put back what has not, and end the workers."""
        self.draining = True
        await self._uploads.close()
        running = [job for job in self._live.values() if job.call.running and not job.waits_for_input]
        if running and self._settings.drain_s > 0:
            await asyncio.wait(
                [asyncio.ensure_future(job.ended.wait()) for job in running], timeout=self._settings.drain_s
            )
        jobs = list(self._live.values())
        for job in jobs:
            job.put_back = not job.row.masked
        await self._cancel(jobs, "the node was ended before this job was done; send it again")
        if jobs:
            log.info("%d jobs put back for the next start", sum(job.put_back for job in jobs))
        await self._pool.close()

    async def expire(self) -> None:
        """Remove what nobody came for: old results, and uploads that nothing was added to."""
        await self._uploads.expire({job.upload.row.id for job in self._live.values() if job.upload is not None})
        oldest = datetime.now(UTC) - timedelta(seconds=self._settings.keep_results_s)
        for row in await self._database.ended_before(iso(oldest)):
            self._spool.remove(row.output)
            await self._database.delete_job(row.id)
            log.info("job %d: its result expired", row.id)

    async def _cancel(self, jobs: list[LiveJob], reason: str) -> None:
        for job in jobs:
            job.cancelled = reason
            if job.courier is None or not job.courier.cancel(reason):
                self._pool.cancel(job.call, reason)
            if job.upload is not None:
                job.upload.change.notify()
        for job in jobs:
            await job.ended.wait()
