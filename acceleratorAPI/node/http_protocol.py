"""HTTP/1.1 as this node speaks it: uvicorn's httptools protocol with strict heads and deadlines.

What is odd is refused and the connection closed, so that no two readers of the same bytes can disagree about where a
request ends (RFC 9112 §11.2). Deadlines of bodies that are read are in ``bodies``.
"""

from __future__ import annotations

import asyncio
import http
import logging
import re
from asyncio import TimerHandle
from typing import Any, ClassVar

import httptools
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from acceleratorAPI.node.headers import ALWAYS
from acceleratorAPI.node.limits import DEFAULTS, Limits
from acceleratorAPI.node.pieces import EXTENSION, Pieces
from acceleratorAPI.node.problems import MEDIA_TYPE, problem_text

log = logging.getLogger(__name__)

# What is not the body of a request that is read in pieces goes here first, for whatever connection: it is parsed, and
# copied where it must be, before the loop reads again.
_shared = memoryview(bytearray(256 << 10))

_HOST = re.compile(rb"[0-9A-Za-z._~%\-]+(:\d{0,5})?|\[[0-9A-Fa-f:.]+\](:\d{0,5})?")


class _Refused(Exception):  # noqa: N818 - not an error of ours
    """This head, or body, is not read any further."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class StrictProtocol(HttpToolsProtocol):
    """One connection.

    It is *waiting* from its start, and from the end of an answer, to the end of the next request's head. A waiting
    connection gives way to a new one when the node has as many as it may: holding many of them stops nobody.
    """

    limits: ClassVar[Limits] = DEFAULTS
    # In the order in which they began to wait.
    waiting: ClassVar[dict[StrictProtocol, None]] = {}

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # uvicorn's parser lets data follow "Connection: close".
        self.parser = httptools.HttpRequestParser(self)
        self._timer: TimerHandle | None = None
        self._stall: TimerHandle | None = None
        self._unsent = 0
        # The request being answered; ``cycle`` is the one read last, which may have to wait.
        self._answered: RequestResponseCycle | None = None
        self._in_head = False
        self._in_body = False
        self._head_bytes = self._fed_bytes = self._fields = 0
        # Nothing this connection says counts any more.
        self._deaf = False
        # Of the body that is being read, when its length is known.
        self.body_left = 0
        # Whether the parser does not see that body, and who takes it: nobody when its request was answered already.
        self._diverted = False
        self._pieces: Pieces | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin, in the place of a waiting connection when there are too many."""
        super().connection_made(transport)
        # A piece of an answer is sent when all before it are on their way, so that their buffers are free. (TLS copies
        # what it is given, and takes a high mark of 0 for one that is always passed.)
        transport.set_write_buffer_limits(high=1 if self.scheme == "https" else 0, low=0)
        if len(self.connections) > self.limits.connections:
            oldest = next(iter(self.waiting), None)
            if oldest is None:
                self._refuse(_Refused(503, "too many connections; try again later"))
                return
            oldest._leave()
        self._wait(self.limits.head_s)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; a request that is being answered learns of it."""
        self._stop_waiting()
        self._stop_stall()
        answered = self._answered
        if answered is not None and not answered.response_complete:
            answered.disconnected = True
            answered.message_event.set()
        super().connection_lost(exc)
        if self._pieces is not None:
            self._pieces.cut()

    def get_buffer(self) -> memoryview:
        """Where the next bytes are to go; never so many that what follows a body read in pieces would be among them."""
        if not self._diverted:
            return _shared
        return (_shared if self._pieces is None else self._pieces.room())[: self.body_left]

    def buffer_updated(self, count: int) -> None:
        """So many are there now."""
        if not self._diverted:
            self.data_received(bytes(_shared[:count]))
            return
        self.diverted(count)
        if self._pieces is not None:
            self._pieces.took(count)

    @override
    def data_received(self, data: bytes) -> None:
        """Feed the parser, of a head no more than it may have."""
        while data and not self._deaf:
            part = data
            if not self._in_body:
                room = self.limits.head_bytes - self._fed_bytes
                part, data = data[:room], data[room:]
                self._fed_bytes += len(part)
            else:
                data = b""
            self._feed(part)
            if not self._deaf and self._fed_bytes >= self.limits.head_bytes:
                self._refuse(_Refused(431, f"the head of the request is longer than {self.limits.head_bytes} bytes"))

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # HTTP/1.1 goes on for the request that offered another protocol, and ends with it.
            self._finish_only()
        except httptools.HttpParserError as error:
            refused = error.__context__ if isinstance(error.__context__, _Refused) else None
            self._refuse(refused or _Refused(400, "this is not a well-formed HTTP/1.1 request"))

    # What the parser finds.

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._in_head, self._head_bytes, self._fields = True, 0, 0
        self._set_timer(self.limits.head_s)

    @override
    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._fields > self.limits.fields:
            raise _Refused(431, f"the request has more than {self.limits.fields} fields")
        self._count(len(name) + len(value) + 4)
        # Trailers come after every check of the head was made: they are no part of it.
        if self._in_head:
            super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        self._fed_bytes = 0
        if self._head_bytes > self.limits.head_bytes:
            raise _Refused(431, f"the head of the request is longer than {self.limits.head_bytes} bytes")

    @override
    def on_headers_complete(self) -> None:
        self._check_head()
        self._in_head, self._in_body = False, True
        self._fed_bytes = 0
        self._stop_waiting()
        if len(self.pipeline) >= self.limits.pipelined:
            raise _Refused(400, f"more than {self.limits.pipelined} requests wait for the answer to the first")
        self.body_left = next((int(value) for name, value in self.headers if name == b"content-length"), 0)
        waiting = len(self.pipeline)
        super().on_headers_complete()
        if len(self.pipeline) == waiting:
            self._answered = self.cycle

    def _check_head(self) -> None:
        """Refuse what another reader of the same bytes might understand differently.

        The parser has refused folded fields, bare line feeds, NUL, several, odd and overflowing Content-Length, and
        Content-Length beside Transfer-Encoding.
        """
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise _Refused(400, "this node speaks HTTP/1.1")
        if self.parser.get_method() == b"CONNECT" or not self.url.startswith(b"/"):
            raise _Refused(400, "the request's target is not a path")
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1 and (hosts or version == "1.1"):
            raise _Refused(400, "a request has exactly one Host field")
        if hosts and not _HOST.fullmatch(hosts[0].strip()):
            raise _Refused(400, "the Host field is no host name or address")
        lengths = [value for name, value in self.headers if name == b"content-length"]
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if len(lengths) + len(codings) > 1:
            raise _Refused(400, "the request says more than once how long it is")
        if lengths and not lengths[0].strip().isdigit():
            raise _Refused(400, "Content-Length is no whole number")
        if codings and (version == "1.0" or codings[0].strip().lower() != b"chunked"):
            raise _Refused(400, "the only Transfer-Encoding this node reads is chunked, in HTTP/1.1")

    @override
    def on_body(self, body: bytes) -> None:
        self.body_left -= len(body)
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()
        if self._answered is None or self._answered.response_complete:
            # The rest of a body that was passed over.
            self._wait(self.limits.idle_s)

    # Bodies in pieces.

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        pieces = Pieces(self, cycle)

        async def with_pieces(scope: Scope, _receive: Receive, send: Send) -> None:
            async def send_uncopied(message: Message) -> None:
                body = message.get("body")
                if isinstance(body, memoryview) and cycle.chunked_encoding:
                    await self._send_chunk(cycle, body)
                else:
                    await send(message)

            scope["extensions"] = {EXTENSION: pieces.pour}
            try:
                await app(scope, pieces.receive, send_uncopied)
            finally:
                pieces.close()

        super()._start_asgi_task(cycle, with_pieces)  # type: ignore[arg-type]  # the same, by Starlette's names

    async def _send_chunk(self, cycle: RequestResponseCycle, body: memoryview) -> None:
        """As uvicorn would, but it puts a chunk together first."""
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if not cycle.disconnected:
            self.transport.writelines((b"%x\r\n" % len(body), body, b"\r\n"))

    def divert(self, pieces: Pieces) -> bool:
        """Let what is left of the body that is being read pass the parser by, to ``pieces``.

        It is not, when the body is another request's, of unknown length, or before a change of protocol.
        """
        if self.cycle is not pieces.cycle or not self._in_body or self.body_left <= 0 or self.parser.should_upgrade():
            return False
        self._diverted, self._pieces = True, pieces
        return True

    def divert_no_more(self, pieces: Pieces) -> None:
        """Nobody takes ``pieces`` any more; the rest of that body is passed over."""
        if self._pieces is pieces:
            self._pieces = None

    def diverted(self, count: int) -> None:
        """So many bytes of the body that is being read came past the parser."""
        self.body_left -= count
        if self.body_left == 0 and self._diverted and self.parser is not None:
            self._diverted = False
            self.on_message_complete()
            # The old one still waits for that body: what follows is for another.
            self.parser = httptools.HttpRequestParser(self)
            if not self.cycle.keep_alive and not self._deaf:
                self._finish_only()

    # Answers.

    @override
    def on_response_complete(self) -> None:
        # What it did not take of its body is passed over.
        self._pieces = None
        following = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        if following is not None:
            self._answered = following
        elif self._deaf:
            self.transport.close()
        elif self._in_body:
            self._set_timer(self.limits.unread_s)
        elif not self._in_head:
            self._wait(self.limits.idle_s)

    @override
    def pause_writing(self) -> None:
        """The client takes the answer more slowly than it is made; that it takes any of it is watched."""
        super().pause_writing()
        self._unsent = self.transport.get_write_buffer_size()
        self._stall = self.loop.call_later(self.limits.answer_idle_s, self._check_stall)

    @override
    def resume_writing(self) -> None:
        """The client has caught up."""
        self._stop_stall()
        super().resume_writing()

    def _check_stall(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent >= self._unsent:
            self.transport.abort()
            return
        self._unsent = unsent
        self._stall = self.loop.call_later(self.limits.answer_idle_s, self._check_stall)

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    # Deadlines.

    def _wait(self, seconds: float) -> None:
        self.waiting[self] = None
        self._set_timer(seconds)

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._on_deadline)

    def _stop_waiting(self) -> None:
        self.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_deadline(self) -> None:
        if self._in_head and self.flow.read_paused:
            # It is this node that does not read on: an earlier request is being answered.
            self._set_timer(self.limits.head_s)
        elif self._in_head:
            self._refuse(_Refused(408, f"the head of the request took longer than {self.limits.head_s:g} s"))
        else:
            self._leave()

    def _leave(self) -> None:
        self._stop_waiting()
        self._deaf = True
        self.transport.abort()

    # The end of a connection that is not understood.

    def _finish_only(self) -> None:
        """Answer what is being answered, then close."""
        self._deaf = True
        self.pipeline.clear()
        self._stop_waiting()
        if self._answered is None or self._answered.response_complete:
            self.transport.close()
        else:
            self._answered.keep_alive = False

    def _refuse(self, refused: _Refused) -> None:
        """Say why and close; never run another request of this connection."""
        log.debug("refused a request: %s", refused.reason)
        answered = self._answered
        if answered is not None and not answered.response_complete:
            if not answered.more_body:
                # A good request came first: its answer goes out alone.
                self._finish_only()
                return
            answered.disconnected = True
            answered.message_event.set()
            if answered.response_started:
                self._leave()
                return
        self._deaf = True
        self.pipeline.clear()
        self._stop_waiting()
        self.transport.write(_refusal(refused))
        if self.transport.can_write_eof():
            # Closing with unread bytes would send a reset, which may overtake the answer.
            self.transport.write_eof()
            self.flow.resume_reading()
            self._timer = self.loop.call_later(self.limits.linger_s, self._leave)
        else:
            self.transport.close()


def _refusal(refused: _Refused) -> bytes:
    status = http.HTTPStatus(refused.status)
    body = problem_text(status, "busy" if status == 503 else "input", refused.reason).encode()
    fields = {
        "content-type": MEDIA_TYPE,
        "content-length": str(len(body)),
        "connection": "close",
        **({"retry-after": "5"} if status == 503 else {}),
        **ALWAYS,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{lines}\r\n".encode() + body


def protocol(limits: Limits) -> type[StrictProtocol]:
    """The protocol of a server with these limits."""

    class Limited(StrictProtocol):
        waiting: ClassVar[dict[StrictProtocol, None]] = {}

    Limited.limits = limits
    return Limited
