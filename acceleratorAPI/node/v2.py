"""What v1.0 did not have: the catalogue, the lease, health, and the node's face at ``/``."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from acceleratorAPI.node import openapi, watching
from acceleratorAPI.node.service import Service
from acceleratorAPI.protocol import paths
from acceleratorAPI.protocol.cards import CatalogueEntry
from acceleratorAPI.protocol.records import Lease
from acceleratorAPI.protocol.usage import SignedReport

VERSION = version("acceleratorAPI")

Cancel = Annotated[bool, Query(description="First cancel the jobs that have not ended: only then are they counted.")]


class Face(BaseModel):
    """What a node says of itself to anybody."""

    name: str
    version: str
    accelerator: str | None
    functions: list[str]
    links: dict[str, str]
    inerror: Literal[False] = False


class Health(BaseModel):
    """The node is well."""

    status: Literal["ok"] = "ok"
    inerror: Literal[False] = False


def router(service: Service) -> APIRouter:
    """These routes of ``service``."""
    routes = APIRouter()

    @routes.get("/", tags=["open"], summary="The node", response_model=Face)
    async def face(request: Request, response: Response) -> Any:
        """Name, version, functions and links; a page to a browser. No token, and 200 as soon as the node is up."""
        if watching.wants_page(request):
            return watching.page()
        response.headers["Vary"] = "Accept"
        return Face(
            name="acceleratorAPI node",
            version=VERSION,
            accelerator=service.settings.accelerator,
            functions=sorted(entry.name for entry in service.catalogue),
            links={
                "docs": "/docs",
                "node": paths.NODE,
                "metrics": paths.METRICS,
                "openapi": "/openapi.json",
                "configuration": paths.CONFIGURATION,
                "process": paths.PROCESS,
                "schema": paths.SCHEMA,
            },
        )

    routes.add_api_route("/", face, methods=["HEAD"], include_in_schema=False)

    @routes.get(paths.LIVE, tags=["open"], summary="Alive?", response_model=Health)
    async def live() -> Any:
        """200 while the process answers at all. Needs no token."""
        return Health()

    @routes.get(paths.READY, tags=["open"], summary="Taking work?", responses=openapi.errors(503))
    async def ready() -> Health:
        """200 while the node takes work, 503 while it ends. Needs no token."""
        service.engine.admission.check_open()
        return Health()

    @routes.get(paths.FUNCTIONS, tags=["node"], summary="Installed functions", responses=openapi.errors())
    async def functions() -> list[CatalogueEntry]:
        """The card of every installed function, with the JSON schemas of its parameters."""
        return service.catalogue

    @routes.get(paths.LEASE, tags=["node"], summary="Whose life the node's hangs on", responses=openapi.errors())
    async def read_lease() -> Lease:
        """The lease in force."""
        return service.lease.lease

    @routes.put(paths.LEASE, tags=["node"], summary="Change the lease", responses=openapi.errors(400))
    async def write_lease(lease: Annotated[Lease, Body()]) -> Lease:
        """Hang the node's life on a process of its machine, or on nobody's (`{"owner_pid": null}`)."""
        service.lease.replace(lease)
        return service.lease.lease

    @routes.post(
        paths.UNSENT_USAGE, tags=["node"], summary="Before the machine goes: usage the store lacks",
        responses=openapi.errors(),
    )  # fmt: skip
    async def unsent_usage(cancel: Cancel = False) -> list[SignedReport]:
        """Send the store what it has not yet; answer what it does not take now, signed by the node.

        Who ends a machine with its disk keeps that, and brings it to the store later.
        """
        if cancel:
            await service.engine.stop()
        return [] if service.metering is None else await service.metering.hand_over()

    return routes
