"""Jobs whose request waits for their outputs: found again when it is repeated, waited for, answered.

A small input and a small output go through memory: no file is made, and such a job keeps nothing but its row. All else
is as with any job.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Sequence
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response

from acceleratorAPI.errors import InputError, JobCancelledError, ParameterError, WorkerCrashedError, error_from_code
from acceleratorAPI.node.answers import job_record
from acceleratorAPI.node.bodies import parse_json
from acceleratorAPI.node.live import LiveJob
from acceleratorAPI.node.problems import problem_of
from acceleratorAPI.node.redact import masked
from acceleratorAPI.node.rows import JobRow
from acceleratorAPI.node.service import Service
from acceleratorAPI.node.submission import Wanted, submit
from acceleratorAPI.node.v1 import MAX_WAIT_S
from acceleratorAPI.protocol.digests import crc32c_field

# Some clients take no longer field.
_RECORD_BYTES = 8 << 10
# Most jobs end before it is worth while to see whether their client is still there.
_UNWATCHED_S = 0.25

# A job's row, and the job itself while it lives.
Found = tuple[JobRow, LiveJob | None]


class Asked:
    """What the head of such a request says. Read by hand: the framework's way takes longer than many a job."""

    def __init__(self, query: QueryParams, headers: Headers) -> None:
        """Raises:
        InputError: a field of it is wrong.
        """
        self.configuration = query.get("configuration", "").strip()
        self.name = query.get("name", "")[:255]
        self.folder = _flag("folder", query.get("folder", "false"))
        self.wait_s = _seconds(query.get("wait", "60"))
        self.key = headers.get("idempotency-key")
        parameters = headers.get("job-parameters", "{}")
        self.parameters = _parameters(parameters)
        # What an idempotency key stands for, but for the input.
        self.text = "\n".join((self.configuration, self.name, str(self.folder), parameters)).encode()

    def wanted(self, client: str) -> Wanted:
        """The job, but for its input."""
        return Wanted(
            self.configuration,
            parameters=self.parameters,
            echo=json.dumps(masked(self.parameters)),
            inline=True,
            name=self.name,
            folder=self.folder,
            client=client,
        )


async def repeated(service: Service, number: int, wanted: Wanted) -> Found | None:
    """The job that an earlier request with the same key began; once more if that one did not get its output.

    ``None``: it did not run to its end, and a new one is to be begun.
    """
    engine = service.engine
    job = engine.living(number)
    if job is not None and job.cancelled:
        # Its client has left, perhaps this one.
        await job.ended.wait()
        job = None
    row = await engine.job(number)
    if job is not None or not _lost(row):
        return row, job
    if row.state != "succeeded":
        return None
    # Counted already: it runs once more for nothing.
    wanted.again = row
    job = await submit(service, wanted)
    return job.row, job


async def wait(service: Service, request: Request, jobs: Sequence[LiveJob], wait_s: float) -> None:
    """Until ``jobs`` have ended, which end themselves when their client leaves.

    What takes longer than ``wait_s`` seconds goes on by itself, and keeps its output for who comes for it.
    """
    for job in jobs:
        job.waiters += 1
    try:
        if await _in_time(_all_ended(jobs), min(wait_s, _UNWATCHED_S)):
            return
        left = asyncio.ensure_future(_left(request))
        ended = asyncio.ensure_future(_all_ended(jobs))
        await asyncio.wait([left, ended], timeout=wait_s - _UNWATCHED_S, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        stays = left.cancel()
        unwanted = []
        for job in jobs:
            if job.ended.is_set():
                continue
            if stays or job.held is not None:
                job.keep = True
            elif job.waiters == 1 and not job.keep:
                unwanted.append(service.engine.cancel(job.row.id))
        await asyncio.gather(*unwanted)
    finally:
        for job in jobs:
            job.waiters -= 1
    for job in jobs:
        if job.held is not None:
            # Only its row is still to be written.
            await job.ended.wait()
        elif not job.ended.is_set():
            await service.engine.flush(job.row.id)


def answer(service: Service, request: Request, found: Found) -> Response:
    """The output of a job with its record, the place of an output that is large or not there yet, or the failure."""
    row, job = found
    record = job_record(row, service.engine.progress(row), service.urls.base(request))
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


async def _all_ended(jobs: Sequence[LiveJob]) -> None:
    for job in jobs:
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
