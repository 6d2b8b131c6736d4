"""Request bodies, as every route reads them: with a deadline for silence and a least average rate."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from acceleratorAPI.node.limits import Limits
from acceleratorAPI.node.pieces import EXTENSION, Piece, Sink, in_thread
from acceleratorAPI.node.problems import RequestError

MAX_DEPTH = 32
_CLOSE = {"Connection": "close"}


class BodyLimits:
    """Enforces ``limits`` on every body that ``app`` reads, by whatever means it does."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        limited = _Body(receive, self._limits, document=_is_json(scope)) if scope["type"] == "http" else receive
        await self._app(scope, limited, send)


class _Body:
    """``receive`` of one request. Only the time spent waiting for the client counts."""

    def __init__(self, receive: Receive, limits: Limits, *, document: bool) -> None:
        self._receive, self._limits, self._document = receive, limits, document
        self._ended = False
        self._size_bytes = 0
        self._waited_s = 0.0

    async def __call__(self) -> Message:
        """ASGI.

        Raises:
            RequestError: the body came too slowly, not at all, or is a document too long.
        """
        if self._ended:
            # What comes now is the client's leaving, for which there is no deadline.
            return await self._receive()
        limits, began = self._limits, time.monotonic()
        try:
            async with asyncio.timeout(limits.body_idle_s):
                message = await self._receive()
        except TimeoutError:
            reason = f"no byte of the request came for {limits.body_idle_s:g} s"
            raise RequestError(408, reason, _CLOSE) from None
        self._waited_s += time.monotonic() - began
        self._size_bytes += len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        if self._document and self._size_bytes > limits.document_bytes:
            raise RequestError(413, f"a JSON body may have {limits.document_bytes} bytes", _CLOSE)
        late = self._waited_s > limits.body_rate_after_s
        if late and not self._ended and self._size_bytes < self._waited_s * limits.body_rate:
            reason = f"the request came with less than {limits.body_rate} bytes a second"
            raise RequestError(408, reason, _CLOSE)
        return message


def _is_json(scope: Scope) -> bool:
    kind = dict(scope["headers"]).get(b"content-type", b"").partition(b";")[0].strip().lower()
    return bool(kind == b"application/json" or kind.endswith(b"+json"))


async def pour(request: Request, threads: Executor, sink: Sink) -> AsyncIterator[None]:
    """Give the body to ``sink``, in one of ``threads``; what was given so far is looked at between the pieces.

    Args:
        request: whose body it is.
        threads: where the sink runs, in one at a time; it is not running any more when this ends, however it does.
        sink: takes a piece, which is only right until it returns.

    Raises:
        RequestError: the body comes too slowly, or not at all.
        Exception: what the sink raises.
    """
    extension = request.scope.get("extensions", {}).get(EXTENSION)
    if extension is not None:
        extension(sink, threads)
    piece: bytes | Piece
    # Not only bytes, as Starlette says: what our own server gives.
    pieces: AsyncIterator[Any] = request.stream()
    async for piece in pieces:
        if isinstance(piece, Piece):
            await piece.take()
        elif piece:
            await in_thread(threads, sink, memoryview(piece))
        yield


async def whole(request: Request, limit_bytes: int, hint: str = "") -> bytes:
    """A small body.

    Raises:
        RequestError: it is longer than ``limit_bytes``; the message ends with ``hint``.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            raise RequestError(413, f"this body may have {limit_bytes} bytes{hint}", _CLOSE)
    return bytes(body)


def parse_json(text: str | bytes) -> Any:
    """JSON from outside, of a depth and with numbers that every later reader can take.

    Raises:
        ValueError: it is not JSON (``json.JSONDecodeError``), or nested too deeply, or has a number beyond a double.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError(f"JSON nested more than {MAX_DEPTH} deep") from None
    pending = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if depth > MAX_DEPTH and isinstance(item, (dict, list)):
            raise ValueError(f"JSON nested more than {MAX_DEPTH} deep")
        if isinstance(item, float) and math.isinf(item):
            raise ValueError("a number is too large")
        if isinstance(item, dict):
            pending += [(inner, depth + 1) for inner in item.values()]
        elif isinstance(item, list):
            pending += [(inner, depth + 1) for inner in item]
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
