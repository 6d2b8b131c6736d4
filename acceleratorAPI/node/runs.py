"""The jobs that have not ended: each on its way from the queue to the row that says how it ended."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from acceleratorAPI.errors import AcceleratorError, FunctionFailedError, InputError, JobCancelledError, NodeBusyError
from acceleratorAPI.files import replacing
from acceleratorAPI.node import logs, results
from acceleratorAPI.node.commands import Configure, Input, InputNews, Process
from acceleratorAPI.node.courier import Courier
from acceleratorAPI.node.database import Database
from acceleratorAPI.node.disk import disk_error
from acceleratorAPI.node.live import LiveJob
from acceleratorAPI.node.observer import Observer
from acceleratorAPI.node.pool import Pool
from acceleratorAPI.node.rows import JobRow, now
from acceleratorAPI.node.slot import Call
from acceleratorAPI.node.spool import Spool
from acceleratorAPI.node.uploads import Upload, Uploads

log = logging.getLogger(__name__)

LONG_BYTES = 64 << 20
STALLED_S = 60.0
REMOVED = "the upload of the input was removed before it was complete"


class Runs:
    """What runs and waits.

    Attributes:
        live: by id, oldest first.
        unwritten: ended jobs whose end could not be written, with what was sent for them: known as they ended.
    """

    def __init__(
        self,
        database: Database,
        spool: Spool,
        uploads: Uploads,
        pool: Pool,
        observer: Observer,
        *,
        legacy_profiling: bool,
        metered: bool,
    ) -> None:
        self._database = database
        self._spool = spool
        self._uploads = uploads
        self._pool = pool
        self._observer = observer
        self._legacy_profiling = legacy_profiling
        self._metered = metered
        self._tasks: set[asyncio.Task[None]] = set()
        self.live: dict[int, LiveJob] = {}
        self.unwritten: dict[int, tuple[JobRow, str | None]] = {}

    def begin(
        self,
        row: JobRow,
        configuration: Configure,
        parameters: dict[str, Any],
        *,
        upload: Upload | None = None,
        courier: Courier | None = None,
        data: bytes | None = None,
    ) -> LiveJob:
        """Into the pool, at once or when its input has been fetched: from here on the job is living.

        Args:
            row: written already.
            configuration: to run it with.
            parameters: of ``process``, secrets included.
            upload: the input, when it comes by itself.
            courier: carries what it reads from or writes to URLs.
            data: the input, when it is small and came with a request that waits.
        """
        grows = upload is not None and not upload.row.complete
        target = row.target or (self._spool.growing_path(row.output) if row.output else None)
        command = Process(
            str(row.id),
            configuration,
            parameters,
            self._input(row, grows=grows, data=data),
            target,
            # A user's own file is written like any other program would; the node's promises are flushed, and can
            # be read while they grow.
            spooled=row.output is not None,
            inline=row.inline,
        )
        logs.note(job=row.id, configuration=row.configuration, function=row.accelerator)
        job = LiveJob(row, command, upload, courier)
        self.live[row.id] = job
        if courier is None:
            self._enter(job)
        self._background(self._follow(job))
        return job

    async def cancel(self, jobs: Iterable[LiveJob], reason: str) -> None:
        """End these, whatever they are doing."""
        jobs = list(jobs)
        for job in jobs:
            job.cancelled = reason
            if job.courier is None or not job.courier.cancel(reason):
                self._pool.cancel(job.call, reason)
            if job.upload is not None:
                job.upload.change.notify()
        for job in jobs:
            await job.ended.wait()

    def fail(self, row: JobRow, error: AcceleratorError) -> None:
        """Let ``row`` say so; its output goes."""
        row.state = "cancelled" if error.code == "cancelled" else "failed"
        row.errorcode, row.processed_date = error.code, now()
        row.result = results.failed(str(error)).model_dump_json()
        self._spool.remove(row.output)
        row.output = None

    def _enter(self, job: LiveJob) -> None:
        """Give the job to the pool, as its input is now."""
        upload, size, call, command = job.upload, job.row.input_bytes, job.call, job.command
        grows = upload is not None and not upload.row.complete
        if command.source is not None and command.source.grows and not grows:
            command = replace(command, source=self._input(job.row, grows=False))
        call.command, call.long = command, grows or size is None or size > LONG_BYTES
        call.progress = partial(self._progress, job)
        # Also one that ends before it begins: nothing must wait for it for ever.
        call.answer.add_done_callback(lambda _: call.started.set())
        if grows and upload is not None:
            self._background(self._feed(job, upload))
        try:
            self._pool.submit(call)
        except NodeBusyError as error:
            call.answer.set_exception(error)

    def _input(self, row: JobRow, *, grows: bool, data: bytes | None = None) -> Input | None:
        """What the worker reads for a job."""
        if row.source is not None:
            return Input(row.source, os.path.basename(row.source), row.folder)
        if row.input is None and data is None:
            return None
        name = os.path.basename((row.input_name or "").replace("\\", "/"))
        path = str(self._spool.path(row.input)) if row.input is not None else ""
        return Input(path, name, row.folder, True, grows, row.input_bytes, data)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _feed(self, job: LiveJob, upload: Upload) -> None:
        """Tell the worker how far the job's input is, until it is complete."""
        call = job.call
        await call.started.wait()
        while not job.ended.is_set():
            row = upload.row
            job.row.input_bytes = row.length
            slot = call.slot
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
                self._pool.cancel(call, "its input has stalled")
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
        job.call = Call(job.command)
        self._enter(job)

    def _progress(self, job: LiveJob, bytes_in: int, bytes_out: int, bytes_expected: int | None = None) -> None:
        self._observer.worked(bytes_in - job.bytes_in, bytes_out - job.bytes_out)
        job.bytes_in, job.bytes_out, job.bytes_expected = bytes_in, bytes_out, bytes_expected
        job.change.notify()

    async def _follow(self, job: LiveJob) -> None:
        """From queued to ended: the file first, then the row, then whoever waits."""
        row = job.row
        answer = await self._outcome(job)
        if job.put_back and row.state != "succeeded":
            # The row on the disk still says "queued": the node's next run begins it again.
            job.failed = True
        else:
            await self._finish(job, answer)
        self.live.pop(row.id, None)
        job.ended.set()
        job.change.notify()

    async def _outcome(self, job: LiveJob) -> dict[str, Any] | None:
        """The worker's answer, once the row says how the job ended."""
        row = job.row
        try:
            answer = await self._carried(job, job.courier) if job.courier else await self._answer(job)
            row.bytes_in, row.bytes_out = answer["bytes_in"], answer["bytes_out"]
            row.crc32c = answer["crc32c"]
            if row.input_bytes is None and row.input is not None:
                row.input_bytes = row.bytes_in
            if not answer["has_output"]:
                self._spool.remove(row.output)
                row.output, row.bytes_out, row.crc32c = None, 0, None
            elif (data := answer.get("data")) is not None:
                await self._take(job, data)
            elif row.output is not None:
                await self._spool.place(row.output)
            app = results.processed(answer, legacy_profiling=self._legacy_profiling, metered=self._metered)
            row.result = app.model_dump_json()
            row.state, row.processed_date = "succeeded", now()
            return answer
        except AcceleratorError as error:
            removed = job.upload is not None and job.upload.removed and not job.cancelled
            self.fail(row, InputError(REMOVED) if removed else error)
        except Exception:
            log.exception("job %d", row.id)
            self.fail(row, FunctionFailedError(f"{row.accelerator} gave an answer the node cannot read"))
        row.bytes_in, row.bytes_out = job.bytes_in, job.bytes_out
        return None

    async def _take(self, job: LiveJob, data: bytes) -> None:
        """A small output that came with the answer: for the request that waits, else to the spool."""
        row = job.row
        if not job.keep:
            job.held, row.output = data, None
        elif row.output is not None:
            loop, path = asyncio.get_running_loop(), self._spool.path(row.output)
            await loop.run_in_executor(self._spool.threads, _write, path, data)

    async def _finish(self, job: LiveJob, answer: dict[str, Any] | None) -> None:
        """Let go of the input, and write the row."""
        row = job.row
        if job.upload is not None:
            await self._uploads.forget(job.upload)
        sent, row.input = row.input, None
        job.failed = row.state != "succeeded"
        self._progress(job, row.bytes_in, row.bytes_out)
        self._observer.job_ended(row, job.call, answer)
        await self._write_end(row, sent)
        log.info("job %d: %s %s", row.id, row.accelerator, row.errorcode or row.state)

    async def write_end_again(self, number: int) -> None:
        """Write the end of a job that could not be written before, if it is one."""
        if number in self.unwritten:
            await self._write_end(*self.unwritten[number])

    async def _write_end(self, row: JobRow, sent: str | None) -> None:
        """The row of a job that has ended, then what was ``sent`` for it may go."""
        try:
            await self._database.update(row, without_upload=sent)
        except Exception:
            # Its row still says "queued", and its input is there: it begins again at the next start, if this is not
            # written before. Until then it is known as it ended.
            log.exception("job %d: its end could not be written", row.id)
            self.unwritten[row.id] = row, sent
        else:
            self.unwritten.pop(row.id, None)
            self._spool.remove(sent)

    async def _carried(self, job: LiveJob, courier: Courier) -> dict[str, Any]:
        """The answer to a job with URLs: its input is fetched before it, its output delivered after it."""
        row = job.row
        if row.input is not None and courier.bytes_fetched is not None:
            await courier.fetch(self._spool.path(row.input))
            row.input_bytes = courier.bytes_fetched
            job.command = replace(job.command, source=self._input(row, grows=False))
        self._enter(job)
        answer = await self._answer(job)
        if job.cancelled:
            raise JobCancelledError(job.cancelled)
        if row.output is not None and courier.bytes_delivered is not None:
            if answer["has_output"]:
                await courier.deliver(self._spool.growing(row.output))
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


def _write(path: Path, data: bytes) -> None:
    try:
        with replacing(path, durable=True) as file:
            file.write(data)
    except OSError as error:
        raise disk_error("write the output", error) from error
