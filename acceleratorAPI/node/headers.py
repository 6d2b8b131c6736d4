"""The fields every answer carries, which tell browsers to do as little as possible with it."""

from __future__ import annotations

from types import MappingProxyType

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALWAYS = MappingProxyType(
    {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        "cache-control": "no-store",
    }
)
# A page of the node: its own script files and nothing inline that runs. Swagger UI sets style attributes.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
# What a page is made of may be kept, and asked for again by its ETag.
_KEPT = ("text/css", "text/javascript", "application/javascript", "image/")


class SecurityHeaders:
    """Adds the fields to every answer of ``app`` that does not set them itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                complete(MutableHeaders(raw=message["headers"]))
            await send(message)

        await self._app(scope, receive, send_with_headers)


def complete(headers: MutableHeaders) -> None:
    """Add to ``headers`` what is missing."""
    kind = headers.get("content-type", "")
    if kind.startswith("text/html"):
        headers.setdefault("content-security-policy", PAGE_POLICY)
    elif kind.startswith(_KEPT):
        headers.setdefault("cache-control", "no-cache")
    for name, value in ALWAYS.items():
        headers.setdefault(name, value)
