"""Every error answer of the node: ``application/problem+json`` in the one shape of ``protocol.records.Problem``."""

from __future__ import annotations

import http
import json
import logging
import secrets
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from acceleratorAPI.errors import AcceleratorError, InputError, NodeBusyError, NotFoundError, SpoolQuotaError
from acceleratorAPI.node import results
from acceleratorAPI.protocol.records import App, ParametersResult, Problem

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
# The one status of tus that HTTP does not have.
_TITLES = {460: "Checksum Mismatch"}


class RequestError(InputError):
    """A request refused for its form, with a status of its own (405, 408, 413, 415, 416)."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.http_status = status
        self.headers = headers or {}


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    app: App | None = None,
    kind: str = "about:blank",
    extra: dict[str, Any] | None = None,
) -> Response:
    """An error answer; ``kind`` is the problem's type and ``extra`` what that type adds."""
    text = problem_text(status, code, detail, app=app, kind=kind, extra=extra)
    return Response(text, status, headers, MEDIA_TYPE)


def problem_text(
    status: int,
    code: str,
    detail: str,
    *,
    app: App | None = None,
    kind: str = "about:blank",
    extra: dict[str, Any] | None = None,
) -> str:
    """The body of an error answer."""
    body = Problem(
        type=kind,
        title=_TITLES.get(status) or http.HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        errorcode=code,
        parametersresult=ParametersResult(app=app or results.failed(detail)),
    )
    return json.dumps({**body.model_dump(), **extra}) if extra else body.model_dump_json()


def problem_of(error: AcceleratorError) -> Response:
    """The answer to a typed error."""
    headers = {}
    if isinstance(error, NodeBusyError):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    status = error.status
    if isinstance(error, RequestError):
        status = error.http_status
        headers.update(error.headers)
    extra = None
    if isinstance(error, SpoolQuotaError):
        extra = {"needed_bytes": error.needed_bytes, "free_bytes": error.free_bytes}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="acceleratorAPI node", Basic realm="acceleratorAPI node"'
    return problem(status, error.code, str(error), headers=headers, extra=extra)


def _methods(routes: Iterable[Any], scope: Scope) -> set[str]:
    """What can be done with the path of ``scope``; the framework names the methods of the first route alone."""
    found: set[str] = set()
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            found |= _methods(inner.routes, scope)
        elif route.matches(scope)[0] is not Match.NONE:
            found |= set(getattr(route, "methods", None) or ())
    return found


def install(app: FastAPI) -> None:
    """Make ``app`` answer every error so."""

    @app.exception_handler(AcceleratorError)
    async def typed(_request: Request, error: AcceleratorError) -> Response:
        return problem_of(error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, AcceleratorError):
            # The framework's word for whatever happens while it reads a body.
            return problem_of(error.__cause__)
        if error.status_code == 404:
            return problem(404, NotFoundError.code, f"{request.url.path}: there is nothing here; see /docs")
        if error.status_code == 405:
            detail = f"{request.method} is not possible on {request.url.path}"
            allowed = ", ".join(sorted(_methods(request.app.routes, request.scope)))
            return problem(405, InputError.code, detail, headers={"Allow": allowed})
        return problem(error.status_code, InputError.code, str(error.detail), headers=dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(400, InputError.code, f"{where}: {first['msg']}")

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        log.info("a client went away while its request arrived")
        return Response(status_code=400)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        incident = secrets.token_hex(6)
        log.error("incident %s: %s %s", incident, request.method, request.url.path, exc_info=error)
        return problem(500, "error", f"the node failed to answer; its log says more about incident {incident}")
