"""The outermost layer: every request gets an id, is counted and, when asked for, logged and traced."""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import time
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from acceleratorAPI.node import logs
from acceleratorAPI.node.observer import Observer

log = logging.getLogger(__name__)

_ID = re.compile(r"[0-9A-Za-z._:/+=-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Requests that reach no route share one name, or strangers could make any number of series.
NO_ROUTE = "(none)"
# nginx's number for a client that left before its answer began.
_LEFT = 499


class Access:
    """Lets every request through to ``app`` and watches it."""

    def __init__(self, app: ASGIApp, observer: Observer, *, log_requests: bool) -> None:
        """Args:
        app: the application behind, the guard included.
        observer: is told.
        log_requests: write an event for each request.
        """
        self._app = app
        self._observer = observer
        self._log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        exchange = _Exchange(self._observer, given if _ID.fullmatch(given) else secrets.token_hex(8), receive, send)
        logs.note(request_id=exchange.id)
        started = time.perf_counter()
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        tracing = self._observer.tracing
        with tracing.request(method, headers) if tracing else contextlib.nullcontext() as span:
            try:
                await self._app(scope, exchange.receive, exchange.send)
            finally:
                exchange.close()
                seconds = time.perf_counter() - started
                route = _route(scope)
                self._observer.tally.answered(route, method, exchange.status, seconds)
                if tracing is not None and span is not None:
                    tracing.answered(span, method, route, exchange.status)
                if self._log_requests:
                    _log(scope, route, exchange, seconds)


class _Exchange:
    """One request's two directions, counted."""

    def __init__(self, observer: Observer, request_id: str, receive: Receive, send: Send) -> None:
        self._tally = observer.tally
        self._receive, self._send = receive, send
        self.id = request_id
        self.status = _LEFT
        self.received = 0
        self.sent = 0
        self._arriving = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            count = len(message.get("body", b""))
            if count:
                self.received += count
                self._tally.received_bytes(count)
            self._set_arriving(message.get("more_body", False))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], (b"x-request-id", self.id.encode())]}
        elif message["type"] == "http.response.body":
            count = len(message.get("body", b""))
            if count:
                self.sent += count
                self._tally.sent_bytes(count)
        await self._send(message)

    def close(self) -> None:
        self._set_arriving(False)

    def _set_arriving(self, arriving: bool) -> None:
        if arriving != self._arriving:
            self._tally.uploads += 1 if arriving else -1
            self._arriving = arriving


def _route(scope: Scope) -> str:
    """The template of the route that answered, without the slash that v1.0 paths may end in."""
    path: str = getattr(scope.get("route"), "path", NO_ROUTE)
    return path.rstrip("/") or "/"


def _log(scope: Scope, route: str, exchange: _Exchange, seconds: float) -> None:
    client: Any = scope.get("client")
    # The path is what a stranger sent; the query, where secrets travel, is left out.
    path = ascii(scope["path"][:200])[1:-1]
    facts = {
        "method": scope["method"],
        "path": path,
        "route": route,
        "status": exchange.status,
        "seconds": round(seconds, 6),
        "received_bytes": exchange.received,
        "sent_bytes": exchange.sent,
        "client": client[0] if client else None,
    }
    message = "%s %s %d in %.3f s, %d bytes in, %d out"
    values = (scope["method"], path, exchange.status, seconds, exchange.received, exchange.sent)
    log.info(message, *values, extra={"facts": facts})
