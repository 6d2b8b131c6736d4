"""The documentation page, from files of the ``swagger-ui-bundle`` package, and the historical Swagger document."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import FileResponse, HTMLResponse, Response

from acceleratorAPI.errors import NotFoundError
from acceleratorAPI.node import openapi
from acceleratorAPI.node.service import Service
from acceleratorAPI.node.v1 import both
from acceleratorAPI.protocol import paths

_FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
# Relative links: the page also works below a proxy's prefix.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>acceleratorAPI node</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = 'SwaggerUIBundle({spec: SPECIFICATION, dom_id: "#page", deepLinking: true, validatorUrl: null})\n'


def router(service: Service, app: FastAPI) -> APIRouter:
    """These routes of ``service``, about ``app``."""
    routes = APIRouter()

    @routes.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(_PAGE)

    @routes.get("/docs/start.js", include_in_schema=False)
    async def docs_start() -> Response:
        # The bundled Swagger UI reads OpenAPI 3.0; what is used of 3.1 here differs from it in the number only.
        document = {**app.openapi(), "openapi": "3.0.3"}
        return Response(_START.replace("SPECIFICATION", json.dumps(document)), media_type="text/javascript")

    @routes.get("/docs/{name}", include_in_schema=False)
    async def docs_file(name: str) -> Response:
        if name not in _FILES:
            raise NotFoundError(f"/docs/{name[:100]}: there is no such file")
        from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]

        return FileResponse(swagger_ui_path / name)

    @both(
        routes,
        "GET",
        paths.SCHEMA,
        tags=["schema"],
        summary="The historical Swagger document",
        operation_id="schema_list",
        responses=openapi.errors(),
    )
    async def schema(request: Request) -> dict[str, Any]:
        """Swagger 2.0 description of v1.0, with this node as its host. The full description is `/openapi.json`."""
        text = resources.files("acceleratorAPI.node").joinpath("swagger-v1.0.json").read_text(encoding="utf-8")
        document: dict[str, Any] = json.loads(text)
        base = urlsplit(service.urls.base(request))
        return {**document, "host": base.netloc, "basePath": base.path or "/", "schemes": [base.scheme]}

    return routes
