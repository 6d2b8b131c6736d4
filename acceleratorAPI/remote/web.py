"""Files behind ``https``: read as a stream that goes on after cuts, and written by one PUT.

The transport is ours down to the socket, so that a node can say which addresses it may reach (``Route``). No
credentials are ever added; no proxy is used.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from functools import cache
from typing import Protocol
from urllib.parse import urljoin

from acceleratorAPI.errors import AcceleratorError, FileAccessError
from acceleratorAPI.remote.breaker import Breaker, cut
from acceleratorAPI.remote.names import WebUrl, parse, shown

CONNECT_S = 10.0
HEAD_S = 60.0
IDLE_S = 60.0
ANSWER_S = 300.0
# A body slower than this for a whole minute counts as stalled.
SLOWEST_BYTES_S = 1024
PACE_S = 60.0
REDIRECTS = 5
TRIES = 5
BLOCK_BYTES = 1 << 20
_LONGEST_PAUSE_S = 60.0

_MOVED = frozenset({301, 302, 303, 307, 308})
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")


class Route(Protocol):
    """Who may be asked, and the way there."""

    def check(self, url: WebUrl) -> None:
        """Raise ``PermissionDeniedError`` when ``url``, a redirect's included, must not be asked for."""

    def connect(self, url: WebUrl) -> socket.socket:
        """A TCP connection to the host, made within ``CONNECT_S``; ``OSError`` when there is none."""


class Direct:
    """Every host there is: for a user's own program."""

    def check(self, url: WebUrl) -> None:
        """Anything."""

    def connect(self, url: WebUrl) -> socket.socket:
        """As the system does it."""
        return socket.create_connection((url.host, url.port), CONNECT_S)


class Body(Protocol):
    """What is sent: read once, and again from its start when the first try was cut."""

    def read(self, size: int = BLOCK_BYTES, /) -> bytes:
        """Up to ``size`` bytes, nothing at the end."""

    def seek(self, offset: int, /) -> object:
        """Go to ``offset``."""


class _Retry(Exception):  # noqa: N818 - no error: a reason to try again
    """This try failed, another one may not."""

    def __init__(self, reason: str, after_s: float = 0) -> None:
        super().__init__(reason)
        self.after_s = after_s


@cache
def _tls() -> ssl.SSLContext:
    """The system's certificates, or those that ``SSL_CERT_FILE`` names."""
    return ssl.create_default_context()


class _Connection(http.client.HTTPConnection):
    """One connection by a route; its Host header and TLS name are the URL's host, wherever the route leads."""

    def __init__(self, url: WebUrl, route: Route, breaker: Breaker) -> None:
        super().__init__(url.host, url.port, blocksize=BLOCK_BYTES)
        # The Host header leaves out the scheme's own port; a signature may depend on it.
        self.default_port = 443 if url.scheme == "https" else 80
        self._url, self._route, self._breaker = url, route, breaker
        self._socket: socket.socket | None = None
        self._late = False

    def connect(self) -> None:
        """Connect, and agree on TLS."""
        connection = self._socket = self._route.connect(self._url)
        try:
            connection.settimeout(IDLE_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._breaker.watch(connection)
            if self._url.scheme == "https":
                # A stream that just ends is a cut unless TLS says that it is the end.
                name = self._url.host
                connection = _tls().wrap_socket(connection, server_hostname=name, suppress_ragged_eofs=False)
                self._socket = connection
                self._breaker.watch(connection)
        except BaseException:
            connection.close()
            raise
        self.sock = connection

    def release(self) -> None:
        """Let go of the socket; ``close`` is also what ``getresponse`` calls while the body is still to come."""
        self._breaker.watch(None)
        self.close()

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """End the connection when the block takes longer, however slowly bytes drip in.

        Raises:
            TimeoutError: it did. (``http.client`` takes half a head for a whole one.)
        """
        self._late = False
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            if self._late:
                raise TimeoutError

    def _cut(self) -> None:
        self._late = True
        if self._socket is not None:
            cut(self._socket)


class WebReader:
    """The bytes of an ``http(s)`` URL. A cut is survived when the server names the version by a strong ETag."""

    def __init__(self, url: WebUrl, route: Route, breaker: Breaker | None = None) -> None:
        """Ask for it.

        Raises:
            FileAccessError: the server does not give it.
            PermissionDeniedError: the route does not lead there.
        """
        self.name = shown(str(url))
        self._url, self._route = url, route
        self._breaker = breaker or Breaker()
        self._done = 0
        self._etag = ""
        self._ended = False
        self._tries = 0
        # Seconds waited for the server, and bytes there were, since the pace was last looked at; slow minutes in a row.
        self._waited_s = 0.0
        self._mark = 0
        self._slow = 0
        self._connection: _Connection | None = None
        self._response: http.client.HTTPResponse | None = None
        self.size_bytes: int | None = None
        self._go_on("")

    def read(self, size: int = BLOCK_BYTES, /) -> bytes:
        """The next ``size`` bytes, fewer only at the end.

        Raises:
            FileAccessError: the connection broke, and there is no going on.
        """
        found = bytearray()
        while len(found) < size and not self._ended:
            found += self._next(size - len(found))
        return bytes(found)

    def close(self) -> None:
        """Let go of the connection."""
        if self._response is not None:
            self._response.close()
        if self._connection is not None:
            self._connection.release()
        self._response = self._connection = None

    def _next(self, size: int) -> bytes:
        """The bytes that are there, none only at the end."""
        assert self._response is not None
        left = size if self.size_bytes is None else min(size, self.size_bytes - self._done)
        reason = "the connection was cut"
        began = time.monotonic()
        try:
            part = self._response.read1(left) if left else b""
        except (OSError, ValueError, http.client.HTTPException) as error:
            part, reason = b"", _reason(error)
            whole = False
        else:
            whole = self._done == self.size_bytes if self.size_bytes is not None else not part
        self._waited_s += time.monotonic() - began
        self._breaker.check()
        if part:
            self._done += len(part)
            self._tries = 0
            if not self._stalled():
                return part
            reason = f"the server sends fewer than {SLOWEST_BYTES_S} bytes a second"
        self.close()
        if whole and not part:
            self._ended = True
        else:
            self._go_on(reason)
        return part

    def _stalled(self) -> bool:
        """Whether the last minute of waiting brought too little."""
        if self._waited_s < PACE_S or self._done == self.size_bytes:
            return False
        slow = self._done - self._mark < SLOWEST_BYTES_S * PACE_S
        self._waited_s, self._mark = 0.0, self._done
        self._slow = self._slow + 1 if slow else 0
        return slow

    def _go_on(self, reason: str) -> None:
        """Ask for the rest, a few times, until the server sends it."""
        if self._slow >= TRIES:
            raise FileAccessError(f"cannot read {self.name!r}: {reason}")
        if self._done and not self._etag:
            raise FileAccessError(
                f"cannot read {self.name!r}: {reason} after {self._done} bytes, and the server names no version"
                " (a strong ETag) to go on with; try again"
            )
        began = time.monotonic()
        failed = _Retry(reason) if reason else None
        while True:
            # Only bytes that arrive set the count back: an answer that breaks off at once is as good as none.
            if failed is not None:
                self._tries += 1
                if self._tries >= TRIES:
                    raise FileAccessError(f"cannot read {self.name!r}: {failed}, {TRIES} times") from failed
                self._breaker.pause(max(failed.after_s, _jitter(self._tries)))
            try:
                self._ask()
            except _Retry as retry:
                failed = retry
            else:
                self._waited_s += time.monotonic() - began
                return

    def _ask(self) -> None:
        url = self._url
        for _ in range(REDIRECTS + 1):
            self._route.check(url)
            connection, response = self._get(url)
            if response.status not in _MOVED:
                break
            location = response.headers.get("Location", "")
            connection.release()
            url = _redirected(url, location, self.name)
        else:
            raise FileAccessError(f"cannot read {self.name!r}: more than {REDIRECTS} redirects")
        try:
            self._begin(response, url)
        except BaseException:
            connection.release()
            raise
        self._connection, self._response = connection, response

    def _get(self, url: WebUrl) -> tuple[_Connection, http.client.HTTPResponse]:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "acceleratorAPI"}
        if self._done:
            headers |= {"Range": f"bytes={self._done}-", "If-Range": self._etag}
        connection = _Connection(url, self._route, self._breaker)
        try:
            with _retrying(self._breaker, self.name), connection.within(HEAD_S):
                connection.request("GET", url.target, headers=headers)
                return connection, connection.getresponse()
        except BaseException:
            connection.release()
            raise

    def _begin(self, response: http.client.HTTPResponse, url: WebUrl) -> None:
        """See that the answer is the file, or the rest of the same one."""
        status, etag = response.status, response.headers.get("ETag", "")
        if status in _BUSY:
            raise _Retry(f"the server answers {status} {response.reason}", _retry_after(response))
        if self._done:
            span = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            same = status == 206 and span is not None and int(span[1]) == self._done and etag == self._etag
            if not same or (self.size_bytes is not None and span is not None and int(span[2]) + 1 != self.size_bytes):
                raise FileAccessError(f"cannot read {self.name!r}: it changed while it was read; try again")
            return
        if status != 200:
            raise FileAccessError(f"cannot read {self.name!r}: {_refusal(response)}")
        length = response.headers.get("Content-Length", "")
        coding = response.headers.get("Transfer-Encoding", "").lower()
        if coding not in ("", "chunked"):
            raise FileAccessError(f"cannot read {self.name!r}: the server sends it in a form that is not read here")
        chunked = coding == "chunked"
        self.size_bytes = int(length) if re.fullmatch("[0-9]{1,18}", length) and not chunked else None
        if url.scheme == "http" and self.size_bytes is None and not chunked:
            raise FileAccessError(f"cannot read {self.name!r}: the server tells no length, so a cut would not be seen")
        resumable = etag.startswith('"') and response.headers.get("Accept-Ranges", "bytes").lower() != "none"
        self._etag = etag if resumable else ""


def put(url: WebUrl, body: Body, size_bytes: int, route: Route, breaker: Breaker | None = None) -> None:
    """Write a file by one PUT of known length, which every server takes whole or not at all. Follows no redirect.

    Raises:
        FileAccessError: the server did not take it.
        PermissionDeniedError: the route does not lead there.
    """
    breaker = breaker or Breaker()
    name = shown(str(url))
    route.check(url)
    for attempt in range(1, TRIES + 1):
        body.seek(0)
        try:
            _put_once(url, body, size_bytes, route, breaker)
        except _Retry as retry:
            if attempt == TRIES:
                raise FileAccessError(f"cannot write {name!r}: {retry}, {TRIES} times") from retry
            breaker.pause(max(retry.after_s, _jitter(attempt)))
        else:
            return


def _put_once(url: WebUrl, body: Body, size_bytes: int, route: Route, breaker: Breaker) -> None:
    name = shown(str(url))
    headers = {"Content-Length": str(size_bytes), "User-Agent": "acceleratorAPI"}
    connection = _Connection(url, route, breaker)
    with contextlib.ExitStack() as stack:
        stack.callback(connection.release)
        stack.enter_context(_retrying(breaker, name))
        try:
            connection.request("PUT", url.target, body=body, headers=headers)
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses says why before it has read everything.
            if connection.sock is None:
                raise
        if connection.sock is not None:
            connection.sock.settimeout(ANSWER_S)
        with connection.within(ANSWER_S):
            response = connection.getresponse()
        if response.status in _BUSY:
            raise _Retry(f"the server answers {response.status} {response.reason}", _retry_after(response))
        if response.status not in (200, 201, 204):
            raise FileAccessError(f"cannot write {name!r}: {_refusal(response)}")


@contextlib.contextmanager
def _retrying(breaker: Breaker, name: str) -> Iterator[None]:
    """Failures of the network as ``_Retry``; a certificate that is not trusted is no such failure."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise FileAccessError(
            f"cannot use {name!r}: its certificate is not trusted: {error.verify_message};"
            " SSL_CERT_FILE names another list of authorities"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        breaker.check()
        raise _Retry(_reason(error)) from error


def _redirected(url: WebUrl, location: str, name: str) -> WebUrl:
    """Where a redirect leads, as strictly read as the first URL."""
    try:
        target = parse(urljoin(str(url), location.partition("#")[0]))
    except (AcceleratorError, ValueError):
        target = None
    if not location or not isinstance(target, WebUrl):
        raise FileAccessError(f"cannot read {name!r}: it redirects to something that is no usable URL")
    if url.scheme == "https" and target.scheme != "https":
        raise FileAccessError(f"cannot read {name!r}: it redirects from https to {target.scheme}")
    return target


def _refusal(response: http.client.HTTPResponse) -> str:
    hint = {
        401: "; use a pre-signed URL",
        403: "; a signature may have ended",
        404: "; there is no such file",
    }.get(response.status, "; name the final address" if response.status in _MOVED else "")
    return f"the server answers {response.status} {' '.join(response.reason.split())[:80]}{hint}"


def _reason(error: Exception) -> str:
    """What went wrong on the network, in words that hold nothing of a URL."""
    if isinstance(error, TimeoutError):
        return "the server is silent"
    if isinstance(error, socket.gaierror):
        return "the name of the host leads nowhere"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'cut'})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "the connection was cut"


def _retry_after(response: http.client.HTTPResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_PAUSE_S) if re.fullmatch("[0-9]{1,9}", text) else 0


def _jitter(attempt: int) -> float:
    """Full jitter: clients that were cut together do not come back together."""
    return random.uniform(0, min(_LONGEST_PAUSE_S, 0.2 * 2**attempt))  # noqa: S311
