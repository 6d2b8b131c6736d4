"""Bodies as they arrive, under the time limits of the node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request

from acceleratorAPI.node.problems import RequestError

IDLE_S = 120.0


async def chunks(request: Request) -> AsyncIterator[bytes]:
    """The body, piece by piece.

    Raises:
        RequestError: nothing came for too long.
    """
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise RequestError(408, f"no byte of the request came for {IDLE_S:.0f} s") from None
        if chunk is None:
            return
        yield chunk
