"""A connection as the event loop sees it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from acceleratorAPI.node.http_protocol import StrictProtocol


class Wire(asyncio.BufferedProtocol):
    """Lets the loop read into buffers of ours: uvicorn's kind of protocol would be given copies."""

    def __init__(self, http: StrictProtocol) -> None:
        self._http = http

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._http.connection_made(transport)  # type: ignore[arg-type]  # as in uvicorn

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._http.connection_lost(exc)

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self._http.get_buffer()

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self._http.buffer_updated(nbytes)

    @override
    def eof_received(self) -> None:
        self._http.eof_received()

    @override
    def pause_writing(self) -> None:
        self._http.pause_writing()

    @override
    def resume_writing(self) -> None:
        self._http.resume_writing()
