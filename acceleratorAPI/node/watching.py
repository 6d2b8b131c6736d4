"""The routes to see a node by: ``/v2/node``, ``/metrics``, and the live page that ``/`` is to a browser."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from acceleratorAPI.errors import NotFoundError
from acceleratorAPI.node import metrics, openapi
from acceleratorAPI.node.clients import client_of
from acceleratorAPI.node.service import Service
from acceleratorAPI.node.status import SpoolCount, status
from acceleratorAPI.protocol import paths
from acceleratorAPI.protocol.status import NodeStatus

_FILES = {"node.css": "text/css", "node.js": "text/javascript", "icon.svg": "image/svg+xml"}
# Everything the page uses is its own; nobody may frame it or make it send a form.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def router(service: Service) -> APIRouter:
    """These routes of ``service``."""
    routes = APIRouter()
    spool_count = SpoolCount(service.spool.folder)

    @routes.get(paths.NODE, tags=["node"], summary="The node at a glance", responses=openapi.errors())
    async def node(request: Request) -> NodeStatus:
        """Slots, queue, jobs, totals since the start, rates of the last minute, disk and processes."""
        return await status(service, spool_count, client_of(request))

    @routes.get(
        paths.METRICS,
        tags=["node"],
        summary="Prometheus metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **openapi.errors()},
    )
    async def scrape(request: Request) -> Response:
        """The same for Prometheus, as text or OpenMetrics."""
        live = Counter((job.row.accelerator, str(job.state)) for job in service.engine.live)
        now = metrics.Snapshot(service.observer.tally, await status(service, spool_count, client_of(request)), live)
        body, media_type = metrics.exposition(now, request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": media_type})

    @routes.get(paths.WEB + "{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if name not in _FILES:
            raise NotFoundError(f"{paths.WEB}{name[:100]}: there is no such file")
        return FileResponse(_path(name), headers=_HEADERS, media_type=_FILES[name])

    return routes


def wants_page(request: Request) -> bool:
    """Whether a request of ``/`` is a browser's: it names HTML, and likes it better than JSON."""
    quality: dict[str, float] = {}
    for item in request.headers.get("accept", "").split(","):
        kind, *parameters = (part.strip().lower() for part in item.split(";"))
        weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
        quality[kind] = _number(weights[0]) if weights else 1.0
    return quality.get("text/html", 0.0) > quality.get("application/json", 0.0)


def page() -> Response:
    """The live page."""
    return FileResponse(_path("node.html"), headers={**_HEADERS, "Vary": "Accept"}, media_type="text/html")


def _path(name: str) -> Any:
    return Path(str(resources.files("acceleratorAPI.node"))) / "web" / name


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
