"""The ASGI application of a node."""

from __future__ import annotations

from fastapi import FastAPI

from acceleratorAPI.node import openapi, pages, problems, v1, v2, v2_batch, v2_files, v2_jobs, v2_run, watching
from acceleratorAPI.node.service import Service

_DESCRIPTION = """Configure an accelerated function, send it files, fetch the results.

Every error is an `application/problem+json` object; `inerror` is in every answer.
"""


def build(service: Service) -> FastAPI:
    """The routes of ``service``, errors and documentation included."""
    app = FastAPI(
        title="acceleratorAPI node",
        version=v2.VERSION,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Its own would put messages and query strings into spans; ours are made at the outermost layer.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    problems.install(app)
    # First, as routes are tried one after the other: its jobs are the shortest.
    app.include_router(v2_run.router(service))
    app.include_router(v2_batch.router(service))
    app.include_router(v1.router(service))
    app.include_router(v2.router(service))
    app.include_router(v2_files.router(service))
    app.include_router(v2_jobs.router(service))
    app.include_router(watching.router(service))
    app.include_router(pages.router(service, app))
    # The framework's documented way to replace the generated document.
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    return app
