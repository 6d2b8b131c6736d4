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
from acceleratorAPI.node.clients import client_of, own_job, own_upload
from acceleratorAPI.node.download import Download, Follow
from acceleratorAPI.node.redact import masked
from acceleratorAPI.node.rows import JobRow, Once
from acceleratorAPI.node.service import Service
from acceleratorAPI.node.submission import Wanted, submit
from acceleratorAPI.node.v1 import Id, PageNumber, Wait
from acceleratorAPI.node.v2_files import upload_id
from acceleratorAPI.protocol import paths
from acceleratorAPI.protocol.records import JobRecord, JobRequest, Page

_KEY = re.compile(openapi.KEY_PATTERN)
# Often enough for a person, seldom enough for a thousand jobs.
_EVENT_EVERY_S = 0.25
_STILL_THERE_S = 15.0

IdempotencyKey = Annotated[
    str | None,
    Header(description="A repeated request finds the first's job.", json_schema_extra={"pattern": openapi.KEY_PATTERN}),
]


def router(service: Service) -> APIRouter:
    """These routes of ``service``."""
    return _Routes(service).router


class _Routes:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._engine = service.engine
        self.router = APIRouter(tags=["jobs"])
        every, one = paths.JOBS.rstrip("/"), paths.JOBS + "{id}"
        self._add(
            "POST", every, self.create, "Begin a job", 400, 402, 403, 404, 409, 422, 429, 503, 507, status_code=201
        )
        self._add("GET", every, self.list, "List jobs", 400, 404)
        self._add("GET", one, self.read, "One job", 400, 404)
        self._add("POST", f"{one}/cancel", self.cancel, "Cancel a job", 400, 404)
        self._add(
            "DELETE", one, self.delete, "Cancel and forget a job", 400, 404, status_code=204, response_class=Response
        )
        stream = {200: {"content": {"text/event-stream": {}}}, **openapi.errors(400, 404)}
        self._add(
            "GET", f"{one}/events", self.events, "Follow a job", responses=stream, response_class=StreamingResponse
        )
        result: dict[str, Any] = {"responses": openapi.DOWNLOAD_RESPONSES, "response_class": Response}
        self._add("GET", f"{one}/result", self.result, "A job's output", **result)
        self._add("HEAD", f"{one}/result", self.result, "A job's output", include_in_schema=False, **result)

    def _add(self, method: str, path: str, route: Any, summary: str, *errors: int, **options: Any) -> None:
        if method != "HEAD":
            options.setdefault("operation_id", f"jobs_{route.__name__}")
        options.setdefault("responses", openapi.errors(*errors))
        self.router.add_api_route(path, route, methods=[method], summary=summary, **options)

    def _record(self, request: Request, row: JobRow) -> JobRecord:
        return job_record(row, self._engine.progress(row), self._service.urls.base(request))

    async def create(
        self,
        request: Request,
        asked: Annotated[JobRequest, Body()],
        wait: Wait = 0,
        idempotency_key: IdempotencyKey = None,
    ) -> JobRecord:
        """Queue a job; its upload need not be complete, nor even begun.

        With `Idempotency-Key`, sending the request again (after a cut, say) answers the same job and begins none.
        With `wait`, the answer comes when the job has ended, or after that time.
        """
        once = once_of(client_of(request).id, idempotency_key, asked.model_dump_json().encode())
        async with self._service.keys.turn(once) as known:
            number = known or await self._begin(request, asked, once)
        return self._record(request, await self._engine.job(number, wait))

    async def _begin(self, request: Request, asked: JobRequest, once: Once | None) -> int:
        service, client = self._service, client_of(request).id
        wanted = Wanted(
            configuration=(asked.configuration or "").strip(),
            parameters=asked.parameters,
            echo=json.dumps(masked(asked.parameters)),
            source=asked.source or "",
            target=asked.target or "",
            upload=own_upload(service, request, upload_id(asked.upload)) if asked.upload else None,
            name=(asked.name or "")[:255],
            folder=asked.folder,
            client=client,
            once=once,
        )
        with self._engine.admission.place(client):
            return (await submit(service, wanted)).row.id

    async def list(self, request: Request, page: PageNumber = 1) -> Page[JobRecord]:
        """The token's jobs, all of them for an administrator, newest first, ten a page."""
        count, rows = await self._service.database.page(JobRow, page, PAGE_SIZE, client_of(request).only)
        url = self._service.urls.base(request) + paths.JOBS.rstrip("/")
        return Page(**page_of(count, page, url, rows, lambda row: self._record(request, row)))

    async def read(self, request: Request, id: Id, wait: Wait = 0) -> JobRecord:  # noqa: A002 - the path's own name
        """The job and how far it is. With `wait` the answer comes when it has ended, or after that time."""
        return self._record(request, await own_job(self._service, request, id, wait))

    async def cancel(self, request: Request, id: Id) -> JobRecord:  # noqa: A002
        """End the job, whatever it is doing; one that has ended stays as it is."""
        await own_job(self._service, request, id)
        return self._record(request, await self._engine.cancel(id))

    async def delete(self, request: Request, id: Id) -> Response:  # noqa: A002
        """Cancel the job when it has not ended; remove its record and files."""
        await own_job(self._service, request, id)
        await self._engine.delete(id)
        return Response(status_code=204)

    async def events(self, request: Request, id: Id) -> StreamingResponse:  # noqa: A002
        """Server-sent events: `progress` while it goes, `ended` with the whole record, then the end."""
        await own_job(self._service, request, id)
        stream = self._events(request, id)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def _events(self, request: Request, number: int) -> AsyncIterator[str]:
        """The events of one job; a comment now and then shows that the connection lives."""
        engine = self._engine
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
        record = self._record(request, await engine.job(number))
        yield f"event: ended\ndata: {record.model_dump_json()}\n\n"

    async def result(
        self,
        request: Request,
        id: Id,  # noqa: A002
        follow: Annotated[
            bool, Query(description="Begin while the job still runs; it grows as the job goes on.")
        ] = False,
        offset: Annotated[int, Query(ge=0, le=2**63 - 1, description="With `follow`: the bytes there already.")] = 0,
    ) -> Response:
        """The output. Without `follow` it must be whole, and one byte range can be asked for."""
        row = await own_job(self._service, request, id)
        spool, live = self._service.spool, self._engine.living(id)
        if follow and live is not None and row.output is not None:
            return Follow(live, (spool.growing(row.output), spool.path(row.output)), offset, spool.threads)
        if row.output is None or self._engine.progress(row).state != "succeeded":
            raise NotFoundError(f"job {id} has no result file")
        return Download(request, spool.path(row.output), spool.threads, row.crc32c, offset if follow else None)


def once_of(client: str, key: str | None, *request: bytes) -> Once | None:
    """The key of a request and what this one stands for; clients do not see each other's keys.

    Raises:
        InputError: it cannot be used as a key.
    """
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InputError("Idempotency-Key: use 1 to 200 visible ASCII characters")
    # A line end is in no key: what one client took is free for every other.
    return Once(f"{client}\n{key}" if client else key, hashlib.sha256(b"\0".join(request)).hexdigest())
