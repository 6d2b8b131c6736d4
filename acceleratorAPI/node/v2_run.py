"""``/v2/run``: a job in one request, whose body is the input and whose answer is the output.

A small input and a small output go through memory: no file is made, and the job keeps nothing but its row. All else
is as with any job.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from crc32c import crc32c
from fastapi import APIRouter, Request
from starlette.responses import Response

from acceleratorAPI.errors import InputError, JobCancelledError, ParameterError, WorkerCrashedError, error_from_code
from acceleratorAPI.node import openapi
from acceleratorAPI.node.answers import job_record
from acceleratorAPI.node.bodies import parse_json, pour, whole
from acceleratorAPI.node.clients import client_of
from acceleratorAPI.node.commands import INLINE_BYTES
from acceleratorAPI.node.live import LiveJob
from acceleratorAPI.node.once import Once
from acceleratorAPI.node.problems import problem_of
from acceleratorAPI.node.redact import masked
from acceleratorAPI.node.rows import JobRow
from acceleratorAPI.node.service import Service
from acceleratorAPI.node.spool import Spool, SpoolWriter
from acceleratorAPI.node.submission import Wanted, submit
from acceleratorAPI.node.uploads import Pour
from acceleratorAPI.node.v1 import MAX_WAIT_S
from acceleratorAPI.node.v2_files import Checksum, announced_checksum
from acceleratorAPI.node.v2_jobs import once_of
from acceleratorAPI.protocol import paths
from acceleratorAPI.protocol.digests import crc32c_field

# Some clients take no longer field.
_RECORD_BYTES = 8 << 10
# Most jobs end before it is worth while to see whether their client is still there.
_UNWATCHED_S = 0.25


def router(service: Service) -> APIRouter:
    """This route of ``service``."""
    return _Run(service).router


class _Asked:
    """What the request's head says. Read by hand: the framework's way takes longer than many a job."""

    def __init__(self, request: Request) -> None:
        query, headers = request.query_params, request.headers
        self.configuration = query.get("configuration", "").strip()
        self.name = query.get("name", "")[:255]
        self.folder = _flag("folder", query.get("folder", "false"))
        self.wait_s = _seconds(query.get("wait", "60"))
        self.key = headers.get("idempotency-key")
        parameters = headers.get("job-parameters", "{}")
        self.parameters = _parameters(parameters)
        self.text = "\n".join((self.configuration, self.name, str(self.folder), parameters))


class _Arriving:
    """A body on its way into a job that is wanted: into its memory, or what is larger into the spool."""

    def __init__(self, spool: Spool, wanted: Wanted, checksum: Checksum | None) -> None:
        self._spool, self._wanted, self._checksum = spool, wanted, checksum
        self._held = bytearray()
        self._writer: SpoolWriter | None = None

    @property
    def size_bytes(self) -> int:
        return self._writer.end if self._writer is not None else len(self._held)

    def take(self, piece: memoryview) -> None:
        if self._checksum is not None:
            self._checksum.update(piece)
        if self._writer is None and len(self._held) + len(piece) > INLINE_BYTES:
            self._wanted.spooled = self._spool.new_name()
            self._writer = self._spool.writer(self._wanted.spooled)
            self._writer.write(memoryview(self._held))
        if self._writer is None:
            self._held += piece
        else:
            self._writer.write(piece)

    def end(self, *, named: bool) -> int:
        """All is here; its CRC32C. Of nothing at all, only what was ``named`` is an empty input."""
        wanted, writer = self._wanted, self._writer
        summed = writer.crc32c if writer is not None else crc32c(self._held)
        if self._checksum is not None:
            self._checksum.verify(summed)
        if writer is not None:
            wanted.spooled_bytes, wanted.spooled_crc32c, wanted.inline = writer.end, summed, False
        else:
            wanted.data = bytes(self._held) if self._held or named else None
        return summed

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Run:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._engine = service.engine
        self.router = APIRouter(tags=["jobs"])
        self.router.add_api_route(
            paths.RUN,
            self.run,
            methods=["POST"],
            summary="Run a job in one request",
            operation_id="run",
            response_class=Response,
            responses=openapi.RUN_RESPONSES,
            openapi_extra=openapi.RUN_REQUEST,
        )

    async def run(self, request: Request) -> Response:
        """The body is the input, the answer the output, with the job's record in `Job-Record`.

        A large output, or one that is not there after `wait`, is where `Location` says (303); it grows there.
        A job that gives no output is answered with its record, one that failed with its error.
        """
        asked, client = _Asked(request), client_of(request).id
        wanted = Wanted(
            asked.configuration,
            parameters=asked.parameters,
            echo=json.dumps(masked(asked.parameters)),
            inline=True,
            name=asked.name,
            folder=asked.folder,
            client=client,
        )
        with self._engine.admission.place(client):
            async with self._input(request, wanted) as sum_of_input:
                once = once_of(client, asked.key, asked.text.encode(), sum_of_input.encode())
                row, job = await self._begun(wanted, once)
        if job is not None:
            await self._wait(request, job, asked.wait_s)
            if not job.ended.is_set():
                await self._engine.flush(row.id)
        return self._answer(request, row, job)

    @contextlib.asynccontextmanager
    async def _input(self, request: Request, wanted: Wanted) -> AsyncIterator[str]:
        """Read the body into ``wanted``: into memory, or what is larger into the spool; what sums it up."""
        spool, admission = self._service.spool, self._engine.admission
        length = request.headers.get("content-length", "")
        size_bytes = int(length) if length.isdigit() else 0
        if size_bytes > INLINE_BYTES:
            await admission.check_room(wanted.client, size_bytes)
            spool.check_room(size_bytes)
        arriving = _Arriving(spool, wanted, announced_checksum(request.headers))
        try:
            if 0 < size_bytes <= INLINE_BYTES:
                arriving.take(memoryview(await whole(request, INLINE_BYTES)))
            else:
                body: Pour = functools.partial(pour, request, spool.threads)
                async for _ in (body if size_bytes else admission.metered(wanted.client, body))(arriving.take):
                    pass
            summed = arriving.end(named="content-type" in request.headers)
            yield f"{size_bytes or arriving.size_bytes} {summed:08x}"
        finally:
            arriving.close()
            spool.remove(wanted.spooled)

    async def _begun(self, wanted: Wanted, once: Once | None) -> tuple[JobRow, LiveJob | None]:
        """The job: a new one, or the one that was begun ``once`` before, or runs once more as its output was lost."""
        async with self._service.keys.turn(once) as known:
            if known is None:
                wanted.once = once
            else:
                job = self._engine.living(known)
                if job is not None and job.cancelled:
                    # Its client has left, perhaps this one.
                    await job.ended.wait()
                    job = None
                row = await self._engine.job(known)
                if job is not None or not _lost(row):
                    return row, job
                if row.state == "succeeded":
                    # Counted already: it runs once more for nothing.
                    wanted.again = row
                else:
                    wanted.once = once
            job = await submit(self._service, wanted)
            # The file is the job's from here on.
            wanted.spooled = None
            return job.row, job

    def _answer(self, request: Request, row: JobRow, job: LiveJob | None) -> Response:
        record = job_record(row, self._engine.progress(row), self._service.urls.base(request))
        if record.failure is not None:
            return problem_of(error_from_code(record.failure.code, record.failure.detail))
        headers = {"Location": record.url}
        text = record.model_dump_json()
        if job is not None and job.held is not None:
            if not text.isascii():
                text = json.dumps(record.model_dump())
            if len(text) <= _RECORD_BYTES:
                # DEL is the one control character that JSON leaves as it is, and no field may hold it.
                headers["Job-Record"] = text.replace("\x7f", "\\u007f")
            headers["Repr-Digest"] = crc32c_field(row.crc32c or 0)
            return Response(job.held, 200, headers, "application/octet-stream")
        if row.output is not None:
            headers["Location"] = f"{record.url}/result?follow=true"
            return Response(text, 303, headers, "application/json")
        return Response(text, 200 if record.ended else 202, headers, "application/json")

    async def _wait(self, request: Request, job: LiveJob, wait_s: float) -> None:
        """Until the end of ``job``, which ends itself when its client leaves.

        When it takes too long, it goes on by itself, and keeps its output for who comes for it.
        """
        job.waiters += 1
        try:
            if await _in_time(job.ended.wait(), min(wait_s, _UNWATCHED_S)):
                return
            left = asyncio.ensure_future(_left(request))
            ended = asyncio.ensure_future(job.ended.wait())
            await asyncio.wait([left, ended], timeout=wait_s - _UNWATCHED_S, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if left.cancel() or job.held is not None:
                job.keep = True
            elif job.waiters == 1 and not job.keep:
                await self._engine.cancel(job.row.id)
        finally:
            job.waiters -= 1
        if job.held is not None:
            # Only its row is still to be written.
            await job.ended.wait()


async def _in_time(work: Coroutine[Any, Any, object], seconds: float) -> bool:
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        return False
    return True


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _lost(row: JobRow) -> bool:
    """Whether a request that is repeated did not get the output: its job runs once more."""
    gone = row.state == "succeeded" and row.crc32c is not None and row.output is None
    ended_with_it = row.errorcode in (WorkerCrashedError.code, JobCancelledError.code)
    return row.inline and (gone or ended_with_it)


def _flag(name: str, text: str) -> bool:
    """Raises:
    InputError: it is neither true nor false.
    """
    if text not in ("true", "false"):
        raise InputError(f"{name} = {text[:40]!r}: use true or false")
    return text == "true"


def _seconds(text: str) -> float:
    """How long to wait, at most a minute.

    Raises:
        InputError: it is no such number.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_WAIT_S:
        raise InputError(f"wait = {text[:40]!r}: use 0 to {MAX_WAIT_S} seconds")
    return seconds


def _parameters(text: str) -> dict[str, Any]:
    """The function's parameters of a request.

    Raises:
        ParameterError: they are no JSON object.
    """
    try:
        values = parse_json(text)
    except ValueError:
        # Not what: it may hold a secret.
        raise ParameterError("Job-Parameters: not JSON; send a JSON object") from None
    if not isinstance(values, dict):
        raise ParameterError("Job-Parameters: not a JSON object")
    return values
