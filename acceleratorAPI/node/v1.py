"""The historical REST API, v1.0. Every path answers with and without its final slash."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from acceleratorAPI.errors import InputError, NotFoundError
from acceleratorAPI.functions import registry
from acceleratorAPI.node import asked, openapi
from acceleratorAPI.node.answers import PAGE_SIZE, configuration_record, page_of, process_record
from acceleratorAPI.node.clients import client_of, own_job
from acceleratorAPI.node.download import Download
from acceleratorAPI.node.forms import Form, read_form
from acceleratorAPI.node.problems import problem
from acceleratorAPI.node.redact import masked
from acceleratorAPI.node.rows import ConfigurationRow, JobRow, now
from acceleratorAPI.node.service import Service
from acceleratorAPI.node.submission import Wanted, check_need, check_parameters_scrubbed, submit
from acceleratorAPI.protocol import paths
from acceleratorAPI.protocol.records import App, ConfigurationRecord, Page, ProcessRecord

Route = TypeVar("Route", bound=Callable[..., Any])

Id = Annotated[int, Path(ge=1, le=2**63 - 1, description="The id a record was answered with.")]
PageNumber = Annotated[int, Query(ge=1, le=2**31, description="The page, from 1; ten records a page, newest first.")]
MAX_WAIT_S = 60
Wait = Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for the job's end before answering.")]

ConfigureWait = Annotated[
    float | None,
    Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for the function; absent: as long as it takes."),
]
# Configurations on their way, whether or not their requests still wait.
_making: set[asyncio.Task[None]] = set()


def both(router: APIRouter, method: str, path: str, **options: Any) -> Callable[[Route], Route]:
    """Register a route at ``path`` and at its other slash form, the latter undocumented."""
    other = path[:-1] if path.endswith("/") else f"{path}/"

    def register(route: Route) -> Route:
        router.add_api_route(path, route, methods=[method], **options)
        router.add_api_route(other, route, methods=[method], **{**options, "include_in_schema": False})
        return route

    return register


def router(service: Service) -> APIRouter:
    """The v1.0 routes of ``service``."""
    routes = APIRouter()
    _configuration_routes(routes, service)
    _stop_route(routes, service)
    _process_routes(routes, service)
    _one_process_routes(routes, service)
    _result_routes(routes, service)
    return routes


def _configuration_routes(routes: APIRouter, service: Service) -> None:
    tags = ["configuration"]

    @both(
        routes,
        "POST",
        paths.CONFIGURATION,
        tags=tags,
        summary="Configure a function",
        operation_id="configuration_create",
        response_model=ConfigurationRecord,
        responses=openapi.errors(400, 402, 404, 408, 413, 415, 503, 507),
        openapi_extra=openapi.CONFIGURATION_BODY,
    )
    async def create(request: Request, wait: ConfigureWait = None) -> Any:
        """Make a function ready for jobs, with its parameters and configuration file, and answer when it is.

        It becomes the active configuration. Older ones stay usable by their `url` until `stop`. With `wait` the answer
        may come before, with `processed` false: then read its record until that is true.
        """
        async with read_form(request, service.spool, service.engine.admission) as form:
            return await _configure(service, form, service.urls.base(request), wait)

    @both(
        routes,
        "GET",
        paths.CONFIGURATION,
        tags=tags,
        summary="List configurations",
        operation_id="configuration_list",
        response_model=Page[ConfigurationRecord],
        responses=openapi.errors(400, 404),
    )
    async def list_all(request: Request, page: PageNumber = 1) -> Any:
        """All configurations, newest first, ten a page."""
        base = service.urls.base(request)
        count, rows = await service.database.page(ConfigurationRow, page, PAGE_SIZE)
        return page_of(count, page, base + paths.CONFIGURATION, rows, lambda row: configuration_record(row, base))

    @both(
        routes,
        "GET",
        paths.CONFIGURATION + "{id}/",
        tags=tags,
        summary="One configuration",
        operation_id="configuration_read",
        response_model=ConfigurationRecord,
        responses=openapi.errors(400, 404),
    )
    async def read(request: Request, id: Id) -> Any:  # noqa: A002 - the path's own name
        """The configuration of that id; `used` tells whether it is the active one."""
        row = await service.database.get(ConfigurationRow, id)
        if row is None:
            raise NotFoundError(f"there is no configuration {id} on this node")
        return configuration_record(row, service.urls.base(request))


def _stop_route(routes: APIRouter, service: Service) -> None:
    @both(
        routes,
        "GET",
        paths.STOP,
        tags=["stop"],
        summary="Stop the accelerator",
        operation_id="stop_list",
        responses=openapi.STOP_RESPONSES,
    )
    async def stop() -> dict[str, Any]:
        """Cancel all jobs that have not ended and drop all configurations. Results of ended jobs stay."""
        app = await service.engine.stop()
        return {"app": app.model_dump(exclude={"profiling"}), "inerror": False, "errorcode": None}


async def _configure(service: Service, form: Form, base: str, wait_s: float | None) -> Any:
    request = asked.parse(form.fields.get("parameters"))
    name = service.function_name(request.accelerator)
    kind = registry.load(name)
    check_need("datafile", kind.card.datafile, form.spooled is not None, kind.card, "POST configuration")
    check_parameters_scrubbed(kind.configure_parameters, request.parameters, name)
    # First of all that costs something: who may not use this node is told so.
    application = await service.metering.admit(request.env) if service.metering is not None else None
    stored = masked(request.parameters)
    if form.spooled is not None:
        # Every later job depends on it.
        await service.spool.flush(form.spooled)
    row = ConfigurationRow(
        accelerator=name,
        created=now(),
        parameters=request.echo,
        function_parameters=json.dumps(stored),
        masked=stored != request.parameters,
        datafile=form.spooled,
        datafile_name=form.filename,
    )
    await service.database.insert(row)
    form.keep()
    work = asyncio.create_task(_make(service, row, request.parameters, application))
    _making.add(work)
    work.add_done_callback(_making.discard)
    if (await asyncio.wait([work], timeout=wait_s))[0]:
        await work
    if row.inerror and row.processed_date:
        app = App.model_validate_json(row.result or "{}")
        return problem(400, row.errorcode or "error", app.msg, app=app)
    return configuration_record(row, base)


async def _make(service: Service, row: ConfigurationRow, parameters: dict[str, Any], application: str | None) -> None:
    # Before anybody can see that it is ready, and use it.
    if service.metering is not None and application is not None:
        await service.metering.charge(row.id, application)
    await service.engine.configurations.configure(row, parameters)


def _process_routes(routes: APIRouter, service: Service) -> None:
    engine = service.engine

    @both(
        routes,
        "POST",
        paths.PROCESS,
        tags=["process"],
        summary="Send a job",
        operation_id="process_create",
        response_model=ProcessRecord,
        responses=openapi.errors(400, 402, 403, 404, 408, 409, 413, 415, 429, 503, 507),
        openapi_extra=openapi.PROCESS_BODY,
    )
    async def create(request: Request) -> Any:
        """Queue a job and answer at once. Then read its record until `processed` is true."""
        client = client_of(request).id
        with engine.admission.place(client):
            async with read_form(request, service.spool, engine.admission) as form:
                row = await _process(service, form, client)
        return process_record(row, engine.progress(row), service.urls.base(request))

    @both(
        routes,
        "GET",
        paths.PROCESS,
        tags=["process"],
        summary="List jobs",
        operation_id="process_list",
        response_model=Page[ProcessRecord],
        responses=openapi.errors(400, 404),
    )
    async def list_all(request: Request, page: PageNumber = 1) -> Any:
        """The token's jobs, all of them for an administrator, newest first, ten a page."""
        base = service.urls.base(request)
        count, rows = await service.database.page(JobRow, page, PAGE_SIZE, client_of(request).only)
        return page_of(
            count, page, base + paths.PROCESS, rows, lambda row: process_record(row, engine.progress(row), base)
        )


def _one_process_routes(routes: APIRouter, service: Service) -> None:
    engine = service.engine

    @both(
        routes,
        "GET",
        paths.PROCESS + "{id}/",
        tags=["process"],
        summary="One job",
        operation_id="process_read",
        response_model=ProcessRecord,
        responses=openapi.errors(400, 404),
    )
    async def read(request: Request, id: Id, wait: Wait = 0) -> Any:  # noqa: A002
        """The job of that id and how far it is. With `wait` the answer comes when it has ended, or after that time."""
        row = await own_job(service, request, id, wait)
        return process_record(row, engine.progress(row), service.urls.base(request))

    @both(
        routes,
        "DELETE",
        paths.PROCESS + "{id}/",
        tags=["process"],
        summary="Cancel or forget a job",
        operation_id="process_delete",
        status_code=204,
        response_class=Response,
        responses=openapi.errors(400, 404),
    )
    async def delete(request: Request, id: Id) -> Response:  # noqa: A002
        """Cancel the job when it has not ended; remove its record and files."""
        await own_job(service, request, id)
        await engine.delete(id)
        return Response(status_code=204)


def _result_routes(routes: APIRouter, service: Service) -> None:
    engine = service.engine
    result = paths.PROCESS + "{id}/datafileresult"

    @both(
        routes,
        "GET",
        result,
        tags=["process"],
        summary="A job's output",
        operation_id="process_datafileresult",
        response_class=Response,
        responses=openapi.DOWNLOAD_RESPONSES,
    )
    async def datafileresult(request: Request, id: Id) -> Response:  # noqa: A002
        """The output file. One byte range can be asked for (`Range: bytes=0-999`)."""
        row = await own_job(service, request, id)
        if row.output is None or engine.progress(row).state != "succeeded":
            raise NotFoundError(f"job {id} has no result file")
        return Download(request, service.spool.path(row.output), service.spool.threads, row.crc32c)

    for path in (result, f"{result}/"):
        routes.add_api_route(path, datafileresult, methods=["HEAD"], include_in_schema=False, response_class=Response)


async def _process(service: Service, form: Form, client: str) -> JobRow:
    fields = form.fields
    request = asked.parse(fields.get("parameters"))
    wanted = Wanted(
        configuration=fields.get("configuration", "").strip(),
        accelerator=request.accelerator,
        parameters=request.parameters,
        echo=request.echo,
        source=fields.get("source", ""),
        target=fields.get("target", ""),
        spooled=form.spooled,
        spooled_bytes=form.size_bytes,
        spooled_crc32c=form.crc32c,
        name=form.filename or "",
        folder=_flag("folder", fields.get("folder", "")),
        client=client,
    )
    job = await submit(service, wanted)
    form.keep()
    return job.row


def _flag(field: str, text: str) -> bool:
    if text.strip() not in ("", "0", "1"):
        raise InputError(f"{field} = {text!r}: use 0 or 1")
    return text.strip() == "1"
