"""What a node does with jobs, from request to record. Knows rows, not HTTP; how a job runs is in ``runs``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from acceleratorAPI.errors import DiskFullError, JobCancelledError, NotFoundError, StateError, WorkerCrashedError
from acceleratorAPI.node import results
from acceleratorAPI.node.admission import Admission
from acceleratorAPI.node.commands import Configure
from acceleratorAPI.node.configurations import STOPPED, Configurations, stopped
from acceleratorAPI.node.courier import Courier
from acceleratorAPI.node.database import Database
from acceleratorAPI.node.live import LiveJob
from acceleratorAPI.node.observer import Observer
from acceleratorAPI.node.pool import Pool
from acceleratorAPI.node.rows import JobRow, Once, iso
from acceleratorAPI.node.runs import Runs
from acceleratorAPI.node.scratch import Scratch
from acceleratorAPI.node.settings import Settings
from acceleratorAPI.node.spool import Spool
from acceleratorAPI.node.uploads import Upload, Uploads, input_is_whole
from acceleratorAPI.protocol.records import App, Progress

log = logging.getLogger(__name__)

RESTARTED = "the node was restarted before this job ended; send it again"
INPUT_LOST = "its input did not survive the end of the node's machine; send the job again"
MAX_ATTEMPTS = 3
_EXPIRED_AT_ONCE = 1000


class Engine:
    """Everything a node does for its clients.

    Attributes:
        configurations: what jobs run with.
        admission: who may send more.
    """

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
        self._uploads = uploads
        self._pool = pool
        self._settings = settings
        # A node with a store configures for nobody whom the store does not know.
        self._metered, legacy = settings.store is not None, settings.legacy_profiling
        self._runs = Runs(database, spool, uploads, pool, observer, legacy_profiling=legacy, metered=self._metered)
        self.configurations = Configurations(database, spool, scratch, pool, observer, metered=self._metered)
        self.admission = Admission(database, uploads, pool, self._runs.live, settings)

    @property
    def live(self) -> list[LiveJob]:
        """The jobs that have not ended, oldest first."""
        return list(self._runs.live.values())

    async def restore(self) -> None:
        """Take up what the database holds: configurations and uploads go on, jobs that had not ended begin again."""
        keep = await self._uploads.restore() | await self._database.outputs()
        keep |= await self.configurations.restore()
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
        lost = upload is None and not await input_is_whole(self._spool, row)
        configuration = self.configurations.command(row.configuration)
        # The input of one whose request waited was never on the disk; that request can be sent again.
        over = row.masked or row.inline or lost or row.attempts > MAX_ATTEMPTS
        if over or configuration is None:
            self._runs.fail(row, WorkerCrashedError(INPUT_LOST if lost else RESTARTED))
            if upload is not None:
                await self._uploads.remove(upload)
            self._spool.remove(row.input)
            row.input = None
            await self._database.update(row)
            return
        await self._database.update(row)
        log.info("job %d: begins again, attempt %d", row.id, row.attempts)
        self._runs.begin(row, configuration, json.loads(row.function_parameters), upload=upload)

    async def submit(
        self,
        row: JobRow,
        parameters: dict[str, Any],
        *,
        upload: Upload | None = None,
        courier: Courier | None = None,
        data: bytes | None = None,
        once: Once | None = None,
    ) -> LiveJob:
        """Queue a job.

        Args:
            row: names what it reads and writes; one with an id is a job that runs once more.
            parameters: of ``process``, secrets included.
            upload: the input, when it comes by itself.
            courier: carries what the job reads from or writes to URLs.
            data: the input, when it is small and its request waits for the output.
            once: the key under which the job is found again.

        Raises:
            StateError: the configuration was stopped while the request arrived, or another job reads the upload.
        """
        if self.configurations.command(row.configuration) is None:
            raise stopped(row.configuration)
        if upload is not None and any(job.upload is upload for job in self._runs.live.values()):
            raise StateError(f"another job reads upload {upload.row.id}: send the input again for this one")
        if row.id:
            self._runs.unwritten.pop(row.id, None)
            await self._database.update(row)
        else:
            # Nobody is told of one whose request waits for its output, before it has ended: then it is flushed.
            await self._database.insert_jobs([row], once, flush=not row.inline)
        configuration = await self._configuration_of([row])
        return self._runs.begin(row, configuration, parameters, upload=upload, courier=courier, data=data)

    async def submit_batch(
        self, rows: Sequence[JobRow], parameters: dict[str, Any], data: Sequence[bytes], once: Once | None
    ) -> list[LiveJob]:
        """Queue jobs of one configuration whose request waits for all their outputs; their ids are in a row.

        Args:
            rows: new ones.
            parameters: of ``process``, secrets included.
            data: the input of each.
            once: the key under which the first is found again.

        Raises:
            StateError: as ``submit``.
        """
        if self.configurations.command(rows[0].configuration) is None:
            raise stopped(rows[0].configuration)
        await self._database.insert_jobs(rows, once, flush=False)
        configuration = await self._configuration_of(rows)
        return [
            self._runs.begin(row, configuration, parameters, data=piece) for row, piece in zip(rows, data, strict=True)
        ]

    async def _configuration_of(self, rows: Sequence[JobRow]) -> Configure:
        """To run new jobs with, whose rows have just been written."""
        configuration = self.configurations.command(rows[0].configuration)
        if configuration is None:
            # Stopped meanwhile: nobody would ever end them.
            for row in rows:
                self._runs.fail(row, JobCancelledError(STOPPED))
                await self._database.update(row)
            raise StateError(STOPPED)
        return configuration

    def living(self, number: int) -> LiveJob | None:
        """The job of that id while it has not ended."""
        return self._runs.live.get(number)

    async def job(self, number: int, wait_s: float = 0) -> JobRow:
        """A job's row, after waiting at most ``wait_s`` seconds for its end.

        Raises:
            NotFoundError: no such job.
        """
        live = self.living(number)
        if live is not None and wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(live.ended.wait(), wait_s)
        live = self.living(number)
        if live is not None:
            return live.row
        unwritten = self._runs.unwritten.get(number)
        row = unwritten[0] if unwritten is not None else await self._database.get(JobRow, number)
        if row is None:
            raise NotFoundError(f"there is no job {number} on this node")
        return row

    def progress(self, row: JobRow) -> Progress:
        """How far a job is."""
        live = self.living(row.id)
        if live is None:
            return Progress(
                state=row.state, bytes_in=row.bytes_in, bytes_total=row.input_bytes, bytes_out=row.bytes_out
            )
        found = Progress(
            state=live.state,
            bytes_in=live.bytes_in,
            bytes_total=row.input_bytes,
            bytes_out=live.bytes_out,
            bytes_expected=live.bytes_expected,
        )
        if live.courier is not None:
            found.bytes_total = found.bytes_total or live.courier.bytes_total
            found.bytes_fetched, found.bytes_delivered = live.courier.bytes_fetched, live.courier.bytes_delivered
        return found

    async def flush(self, number: int) -> None:
        """Put a job's row on the disk, before somebody is told of one whose request does not wait any longer."""
        await self._database.flush_job(number)

    async def cancel(self, number: int) -> JobRow:
        """End a job; one that has ended stays as it is.

        Raises:
            NotFoundError: no such job.
        """
        live = self.living(number)
        if live is not None:
            await self._runs.cancel([live], f"job {number} was cancelled")
        return await self.job(number)

    async def delete(self, number: int) -> None:
        """Cancel a job when it has not ended; remove its record and files.

        Raises:
            NotFoundError: no such job.
        """
        row = await self.cancel(number)
        await self._runs.write_end_again(number)
        try:
            await self._database.delete_job(number)
        except DiskFullError:
            # The room for this change comes from the files.
            self._spool.remove(row.input, row.output)
            await self._database.delete_job(number)
        self._runs.unwritten.pop(number, None)
        self._spool.remove(row.input, row.output)
        log.info("job %d: deleted", number)

    async def stop(self) -> App:
        """Cancel every job, drop every configuration with its file."""
        await self.configurations.drop()
        jobs = self.live
        await self._runs.cancel(jobs, STOPPED)
        await self.configurations.clean_up()
        log.info("stopped; %d jobs cancelled", len(jobs))
        specific = {"Metering": results.metering(metered=self._metered), "cancelled": len(jobs)}
        return App(status=0, msg="==> SUCCESS <==\n", specific=specific)

    async def drain(self) -> None:
        """Take no more work, let what runs finish for a while, put back what has not, and end the workers."""
        self.admission.draining = True
        await self._uploads.close()
        running = [job for job in self.live if job.call.running and not job.waits_for_input]
        if running and self._settings.drain_s > 0:
            await asyncio.wait(
                [asyncio.ensure_future(job.ended.wait()) for job in running], timeout=self._settings.drain_s
            )
        jobs = self.live
        for job in jobs:
            job.put_back = not (job.row.masked or job.row.inline)
        await self._runs.cancel(jobs, "the node was ended before this job was done; send it again")
        if jobs:
            log.info("%d jobs put back for the next start", sum(job.put_back for job in jobs))
        await self._pool.close()

    async def expire(self) -> None:
        """Remove what nobody came for: old results, keys, and uploads that nothing was added to."""
        await self._uploads.expire({job.upload.row.id for job in self.live if job.upload is not None})
        for number in list(self._runs.unwritten):
            await self._runs.write_end_again(number)
        await self._database.expire_keys()
        oldest = iso(datetime.now(UTC) - timedelta(seconds=self._settings.keep_results_s))
        while found := await self._database.expire_jobs(oldest, _EXPIRED_AT_ONCE):
            self._spool.remove(*(output for _, output in found))
            log.info("%d jobs with their results expired", len(found))
