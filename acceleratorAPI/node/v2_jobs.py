"""``/v2/jobs``: jobs as resources, made once however often they are asked for, followed as they go."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from acceleratorAPI.errors import InputError, NotFoundError
from acceleratorAPI.node import openapi
from acceleratorAPI.node.answers import PAGE_SIZE, job_record, page_of
from acceleratorAPI.node.download import Download, Follow
from acceleratorAPI.node.engine import Once
from acceleratorAPI.node.redact import masked
from acceleratorAPI.node.rows import JobRow
from acceleratorAPI.node.service import Service
from acceleratorAPI.node.submission import Wanted, submit
from acceleratorAPI.node.v1 import Id, PageNumber, Wait
from acceleratorAPI.node.v2_files import upload_id
from acceleratorAPI.protocol import paths
from acceleratorAPI.protocol.records import JobRecord, JobRequest, Page

_KEY = re.compile(r"[!-~ ]{1,200}")
# Often enough for a person, seldom enough for a thousand jobs.
_EVENT_EVERY_S = 0.25
_STILL_THERE_S = 15.0


def router(service: Service) -> APIRouter:
    """These routes of ``service``."""
    routes = APIRouter(tags=["jobs"])
    engine = service.engine
    one = paths.JOBS + "{id}"

    def record(request: Request, row: JobRow) -> JobRecord:
        return job_record(row, engine.progress(row), service.urls.base(request))

    @routes.post(
        paths.JOBS.rstrip("/"),
        status_code=201,
        summary="Begin a job",
        operation_id="jobs_create",
        responses=openapi.errors(400, 402, 403, 404, 409, 422, 503, 507),
    )
    async def create(
        request: Request,
        asked: Annotated[JobRequest, Body()],
        wait: Wait = 0,
        idempotency_key: Annotated[str | None, Header(description="A repeated request finds the first's job.")] = None,
    ) -> JobRecord:
        """Queue a job; its upload need not be complete, nor even begun.

        With `Idempotency-Key`, sending the request again (after a cut, say) answers the same job and begins none.
        With `wait`, the answer comes when the job has ended, or after that time.
        """
        once = _once(idempotency_key, asked)
        known = await engine.known(once) if once is not None else None
        if known is not None:
            return record(request, await engine.job(known.id, wait))
        wanted = Wanted(
            configuration=(asked.configuration or "").strip(),
            parameters=asked.parameters,
            echo=json.dumps(masked(asked.parameters)),
            source=asked.source or "",
            target=asked.target or "",
            upload=service.uploads.get(upload_id(asked.upload)) if asked.upload else None,
            name=(asked.name or "")[:255],
            folder=asked.folder,
            once=once,
        )
        with engine.arriving():
            row = await submit(service, wanted)
        if wait:
            row = await engine.job(row.id, wait)
        return record(request, row)

    @routes.get(
        paths.JOBS.rstrip("/"), summary="List jobs", operation_id="jobs_list", responses=openapi.errors(400, 404)
    )
    async def list_all(request: Request, page: PageNumber = 1) -> Page[JobRecord]:
        """All jobs, newest first, ten a page."""
        count, rows = await service.database.page(JobRow, page, PAGE_SIZE)
        url = service.urls.base(request) + paths.JOBS.rstrip("/")
        return Page(**page_of(count, page, url, rows, lambda row: record(request, row)))

    @routes.get(one, summary="One job", operation_id="jobs_read", responses=openapi.errors(400, 404))
    async def read(request: Request, id: Id, wait: Wait = 0) -> JobRecord:  # noqa: A002 - the path's own name
        """The job and how far it is. With `wait` the answer comes when it has ended, or after that time."""
        return record(request, await engine.job(id, wait))

    @routes.post(
        f"{one}/cancel", summary="Cancel a job", operation_id="jobs_cancel", responses=openapi.errors(400, 404)
    )
    async def cancel(request: Request, id: Id) -> JobRecord:  # noqa: A002
        """End the job, whatever it is doing; one that has ended stays as it is."""
        return record(request, await engine.cancel(id))

    @routes.delete(
        one,
        summary="Cancel and forget a job",
        operation_id="jobs_delete",
        status_code=204,
        response_class=Response,
        responses=openapi.errors(400, 404),
    )
    async def delete(id: Id) -> Response:  # noqa: A002
        """Cancel the job when it has not ended; remove its record and files."""
        await engine.delete(id)
        return Response(status_code=204)

    @routes.get(
        f"{one}/events",
        summary="Follow a job",
        operation_id="jobs_events",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}, **openapi.errors(400, 404)},
    )
    async def events(request: Request, id: Id) -> StreamingResponse:  # noqa: A002
        """Server-sent events: `progress` while it goes, `ended` with the whole record, then the end."""
        await engine.job(id)
        stream = _events(service, request, id)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @routes.get(
        f"{one}/result",
        summary="A job's output",
        operation_id="jobs_result",
        response_class=Response,
        responses=openapi.DOWNLOAD_RESPONSES,
    )
    async def result(
        request: Request,
        id: Id,  # noqa: A002
        follow: Annotated[
            bool, Query(description="Begin while the job still runs; it grows as the job goes on.")
        ] = False,
        offset: Annotated[int, Query(ge=0, le=2**63 - 1, description="With `follow`: the bytes there already.")] = 0,
    ) -> Response:
        """The output. Without `follow` it must be whole, and one byte range can be asked for."""
        row = await engine.job(id)
        live = engine.living(id)
        if follow and live is not None and row.output is not None:
            name = row.output
            return Follow(live, (service.spool.growing(name), service.spool.path(name)), offset, service.spool.threads)
        if row.output is None or engine.progress(row).state != "succeeded":
            raise NotFoundError(f"job {id} has no result file")
        return Download(
            request, service.spool.path(row.output), service.spool.threads, row.crc32c, offset if follow else None
        )

    routes.add_api_route(f"{one}/result", result, methods=["HEAD"], include_in_schema=False, response_class=Response)
    return routes


def _once(key: str | None, asked: JobRequest) -> Once | None:
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InputError("Idempotency-Key: use 1 to 200 visible ASCII characters")
    return Once(key, hashlib.sha256(asked.model_dump_json().encode()).hexdigest())


async def _events(service: Service, request: Request, number: int) -> AsyncIterator[str]:
    """The events of one job; a comment now and then shows that the connection lives."""
    engine = service.engine
    last, quiet_since = "", asyncio.get_running_loop().time()
    while (live := engine.living(number)) is not None:
        text = engine.progress(live.row).model_dump_json()
        now_s = asyncio.get_running_loop().time()
        if text != last:
            last, quiet_since = text, now_s
            yield f"event: progress\ndata: {text}\n\n"
        elif now_s - quiet_since > _STILL_THERE_S:
            quiet_since = now_s
            yield ": still there\n\n"
        await engine.job(number, _EVENT_EVERY_S)
    row: Any = await engine.job(number)
    record = job_record(row, engine.progress(row), service.urls.base(request))
    yield f"event: ended\ndata: {record.model_dump_json()}\n\n"
