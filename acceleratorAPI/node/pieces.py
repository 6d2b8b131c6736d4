"""A request's body in large pieces: from the socket into a reused buffer, and on to whoever takes it, in a thread.

Fresh memory for every piece is page-faulted anew, what the layers do with a piece costs as much for 64 KiB as for a
megabyte, and so does each change of threads. So the event loop reads the first bytes, and a thread what comes quickly
after them: an upload takes half the processor time, and half as long, as piece by piece through the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import select
import time
from asyncio import TimerHandle
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

if TYPE_CHECKING:
    from acceleratorAPI.node.http_protocol import StrictProtocol

# The ASGI extension by which a route has its body given to a sink: ``Pieces.pour``.
EXTENSION = "acceleratorapi.pour"
# Two of them fit the second-level cache of a core: what is read is summed up and written before it leaves it.
PIECE_BYTES = 512 << 10
# How long the first bytes of a piece wait for more.
LINGER_S = 0.01
# How much a thread takes, and for how long, before limits, rights and offset are looked at again.
_RUN_BYTES = 16 << 20
_RUN_S = 0.05
# A thread gives way to the loop when nothing comes for so long.
_DRY_MS = 2
_KEPT_BUFFERS = 16

Sink = Callable[[memoryview], None]
ResultT = TypeVar("ResultT")

_free: list[memoryview] = []


class Piece:
    """Stands in a message for bytes a sink takes, or has taken: the layers see how many there are."""

    __slots__ = ("_size", "_take")

    def __init__(self, size: int, take: Callable[[], Awaitable[None]] | None = None) -> None:
        self._size, self._take = size, take

    def __len__(self) -> int:
        return self._size

    async def take(self) -> None:
        """Let the sink take it. To be done before the next message is asked for.

        Raises:
            Exception: what the sink raises.
        """
        if self._take is not None:
            await self._take()


class Pieces:
    """The body of one request.

    ``receive`` is the server's own until a route has called ``pour``. After that the ``body`` of a message may be a
    ``Piece``.
    """

    def __init__(self, protocol: StrictProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self.cycle = cycle
        self._sink: Sink | None = None
        self._threads: Executor | None = None
        self._begun = self._late = self._stopped = False
        self._filling = self._other = memoryview(b"")
        self._fill = self._pumped = 0
        # Not yet here. The connection's own count may be that of the next request already.
        self._left = 0
        self._socket = -1
        self._changed = asyncio.Event()
        self._timer: TimerHandle | None = None

    def pour(self, sink: Sink, threads: Executor) -> None:
        """Give what is read in pieces to ``sink``, in one of ``threads``."""
        self._sink, self._threads = sink, threads

    async def receive(self) -> Message:
        """ASGI."""
        if not self._begun:
            message: Any = await self.cycle.receive()
            if not self._begin(message):
                return dict(message)
        if self._pumped:
            piece, self._pumped = Piece(self._pumped), 0
            return self._message(piece)
        while not self._due():
            if self.cycle.disconnected or self.cycle.response_complete:
                return {"type": "http.disconnect"}
            await self._changed.wait()
            self._changed.clear()
        lent = self._lend()
        return self._message(Piece(len(lent), functools.partial(self._take, lent)))

    def _message(self, piece: Piece) -> Message:
        more = self._left > 0 or self._fill > 0
        if not more:
            self._begun = False
            self.cycle.message_event.clear()
        return {"type": "http.request", "body": piece, "more_body": more}

    def _begin(self, message: Any) -> bool:
        """Whether what follows ``message``, which came with the head, is read in pieces; it is part of the first."""
        if self._sink is None or message["type"] != "http.request":
            return False
        body = message["body"]
        if len(body) >= PIECE_BYTES or not self._protocol.divert(self):
            return False
        self._begun = True
        self._left = self._protocol.body_left
        self._filling = buffer()
        self._filling[: len(body)] = body
        self._fill = len(body)
        if body:
            self._linger()
        self._protocol.flow.resume_reading()
        return True

    def _due(self) -> bool:
        ended = self._late or self._left == 0 or self.cycle.disconnected
        return self._fill > 0 and (ended or self._fill == len(self._filling))

    def _lend(self) -> memoryview:
        """What is there, for a thread to take; the loop must not read into it meanwhile."""
        protocol, piece = self._protocol, self._filling[: self._fill]
        self._fill, self._late = 0, False
        self._stop_timer()
        if protocol.scheme == "https":
            # The loop has to decrypt, and does so into the other buffer.
            self._filling, self._other = self._other or buffer(), self._filling
            if self._left:
                protocol.flow.resume_reading()
        elif self._left:
            protocol.flow.pause_reading()
        return piece

    async def _take(self, piece: memoryview) -> None:
        """Let a thread take ``piece``, and read and take what comes meanwhile."""
        protocol, more = self._protocol, 0
        paused = protocol.scheme == "http" and self._left > 0
        # One that took longer to fill it than a piece may wait is left to the loop: a slow client holds no thread.
        quick = len(piece) == len(self._filling)
        if paused and quick and not self.cycle.disconnected:
            more = min(self._left, _RUN_BYTES)
            if self._socket < 0:
                # Of its own: that of the loop may be closed, and its number another's, while a thread reads.
                self._socket = os.dup(protocol.transport.get_extra_info("socket").fileno())
        assert self._sink is not None
        assert self._threads is not None
        try:
            await in_thread(self._threads, self._run, self._sink, piece, more, stop=self._stop)
        finally:
            self._left -= self._pumped
            protocol.diverted(self._pumped)
        if paused:
            protocol.flow.resume_reading()

    def _run(self, sink: Sink, piece: memoryview, left: int) -> None:
        """In a thread: the sink takes ``piece``, then up to ``left`` bytes from the socket."""
        until = time.monotonic() + _RUN_S
        sink(piece)
        while left and not self._stopped and time.monotonic() < until:
            count = self._read(min(left, len(self._filling)), until)
            if not count:
                break
            self._pumped += count
            left -= count
            sink(self._filling[:count])

    def _stop(self) -> None:
        self._stopped = True

    def _read(self, wanted: int, until: float) -> int:
        """Fill the buffer from the socket, as far as the bytes come quickly."""
        count = 0
        # A broken connection is the loop's to find: it reads next.
        with contextlib.suppress(ConnectionError):
            while count < wanted and not self._stopped and time.monotonic() < until:
                try:
                    size = os.readv(self._socket, [self._filling[count:wanted]])
                except BlockingIOError:
                    waiting = select.poll()
                    waiting.register(self._socket, select.POLLIN)
                    if not waiting.poll(_DRY_MS):
                        break
                    continue
                if not size:
                    break
                count += size
        return count

    # What the connection tells.

    def room(self) -> memoryview:
        """Where the next bytes are to go."""
        return self._filling[self._fill :]

    def took(self, count: int) -> None:
        """So many came."""
        self._fill += count
        self._left -= count
        if self._left == 0:
            self._changed.set()
        elif self._fill == len(self._filling):
            self._protocol.flow.pause_reading()
            self._changed.set()
        else:
            self._linger()

    def cut(self) -> None:
        """The client is gone."""
        self._changed.set()

    def close(self) -> None:
        """The request is over."""
        self._stop_timer()
        self._protocol.divert_no_more(self)
        if self._socket >= 0:
            os.close(self._socket)
            self._socket = -1
        give_back(self._filling, self._other)

    def _linger(self) -> None:
        if self._timer is None:
            self._timer = self._protocol.loop.call_later(LINGER_S, self._on_late)

    def _on_late(self) -> None:
        self._late = True
        self._changed.set()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def buffer() -> memoryview:
    """Room for one piece."""
    return _free.pop() if _free else memoryview(bytearray(PIECE_BYTES))


def give_back(*buffers: memoryview) -> None:
    """Let others have them: nobody uses them any more."""
    _free.extend(buffer for buffer in buffers[: max(0, _KEPT_BUFFERS - len(_free))] if buffer)


async def in_thread(
    threads: Executor, work: Callable[..., ResultT], *arguments: Any, stop: Callable[[], None] | None = None
) -> ResultT:
    """``work`` in a thread. One that is cancelled still waits for it, as what it uses may be closed then.

    Args:
        threads: where.
        work: what.
        arguments: its arguments.
        stop: asks it to end early.
    """
    run = asyncio.get_running_loop().run_in_executor(threads, work, *arguments)
    try:
        return await asyncio.shield(run)
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        while not run.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([run])
        if not run.cancelled():
            run.exception()
        raise
