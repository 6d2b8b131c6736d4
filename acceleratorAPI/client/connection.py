"""The way to a node: requests over HTTP, and errors that are ours. What is asked for is in ``node``."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import BaseHTTPResponse

from acceleratorAPI.client.retry import Backoff
from acceleratorAPI.client.trace import trace_headers
from acceleratorAPI.client.transfer import CHUNK_BYTES
from acceleratorAPI.client.trust import Trust
from acceleratorAPI.errors import (
    AcceleratorError,
    AuthenticationError,
    IntegrityError,
    NodeBusyError,
    NodeError,
    NodeUnreachableError,
    NotFoundError,
    PermissionDeniedError,
    error_from_code,
)

CONNECT_S = 10.0
# No limit on a whole request, only on silence: longer than the node's longest long poll.
IDLE_S = 120.0
# Of a piece of an upload and of an output that is followed: what moves is seen to move, so silence is a cut soon.
PIECE_IDLE_S = 30.0
READ_TRIES = 3

AnswerT = TypeVar("AnswerT")
_BY_STATUS: dict[int, type[NodeError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: NodeBusyError,
    503: NodeBusyError,
}


class _PatientHTTP(HTTPConnection):
    """Sends under the idle limit; urllib3 would send under the shorter one for connecting."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(PIECE_IDLE_S)


class _PatientHTTPS(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        if not self.is_verified:
            raise ssl.SSLError("nobody vouches for the certificate")
        self.sock.settimeout(PIECE_IDLE_S)


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _PatientHTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _PatientHTTPS


class NodeConnection:
    """One node. Safe to use from several threads; holds no state but its connections."""

    def __init__(
        self, url: str, token: str = "", diagnose: Callable[[], str] | None = None, trust: Trust | None = None
    ) -> None:
        """Connect on first use.

        Args:
            url: of the node, without a path or with the one a proxy serves it under.
            token: sent as bearer token when not empty.
            diagnose: why the node may not answer, for error messages.
            trust: whom to take for the node when it speaks TLS; by default whom this machine's authorities vouch for.

        Raises:
            ConfigurationError: ``trust`` cannot be used.
        """
        self._trust = trust or Trust()
        self._trust.check(url)
        self.url = url.rstrip("/")
        self._diagnose = diagnose or (lambda: "")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._pool, self._pid = _new_pool(self.url, self._trust), os.getpid()

    def __repr__(self) -> str:
        return f"NodeClient({self.url!r})"

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _insist(self, ask: Callable[[], AnswerT]) -> AnswerT:
        """Ask again while the node is busy or the way to it broken; only what may be asked twice."""
        backoff = Backoff(self.has_ended)
        while True:
            try:
                return ask()
            except (NodeBusyError, NodeUnreachableError, IntegrityError) as error:
                backoff.wait(error)

    def _own(self, url: str) -> str:
        """The path of one of the node's URLs: it is reached the way we know, whatever it calls itself."""
        path = urlsplit(url).path
        prefix = urlsplit(self.url).path
        return path.removeprefix(prefix) if prefix else path

    def _json(self, method: str, path: str) -> Any:
        return self._parsed(self._request(method, path))

    def _parsed(self, answer: BaseHTTPResponse) -> Any:
        return self._json_of(self._body(answer))

    def _body(self, answer: BaseHTTPResponse) -> bytes:
        with self._translated():
            body = answer.read(decode_content=False)
            answer.release_conn()
        return body

    def _json_of(self, text: str | bytes) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise NodeError(f"{self.url}: the answer is not JSON; is this a node?") from error

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        idle_s: float | None = None,
    ) -> BaseHTTPResponse:
        """An answer below 400, its body still to be read; when cut off, all but POST and PATCH is tried again."""
        tries = READ_TRIES if method in ("GET", "HEAD", "PUT", "DELETE") else 1
        url = path if "://" in path else self.url + path
        if self._pid != os.getpid():
            # A forked child must not talk on its parent's connections.
            self._pool, self._pid = _new_pool(self.url, self._trust), os.getpid()
        # Whatever URL an answer names: the token is for this node alone.
        own = self._headers if _origin(url) == _origin(self.url) else {}
        sent = {**own, **trace_headers(), **(headers or {})}
        timeout = urllib3.Timeout(connect=CONNECT_S, read=idle_s or IDLE_S)
        for attempt in range(1, tries + 1):
            try:
                with self._translated():
                    answer = self._pool.request(
                        method, url, body=body, headers=sent, preload_content=False, timeout=timeout
                    )
            except NodeUnreachableError:
                if attempt == tries or self.has_ended():
                    raise
                time.sleep(random.uniform(0, 0.2 * 2**attempt))  # noqa: S311
                continue
            # 303: the answer to a job's request names where its output is.
            if answer.status >= 300 and answer.status != 303:
                raise self._refusal(answer, f"{method} {path}")
            return answer
        raise AssertionError("unreachable")

    def has_ended(self) -> bool:
        """Whether nothing will ever answer again."""
        return "has ended" in self._diagnose() or "is gone" in self._diagnose()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """The one edge where urllib3's errors become ours."""
        try:
            yield
        except urllib3.exceptions.HTTPError as error:
            if isinstance(error, urllib3.exceptions.SSLError) and not _broke_off(error):
                raise NodeError(f"{self.url} is not trusted: {_reason(error)}; {self._trust.hint}") from error
            if isinstance(error, urllib3.exceptions.LocationValueError):
                raise _no_address(self.url) from None
            never = isinstance(error, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError))
            what = f"nothing answers at {self.url}" if never else f"the connection to {self.url} broke off"
            raise NodeUnreachableError(f"{what}: {self._diagnose() or _reason(error)}") from error

    def _refusal(self, answer: BaseHTTPResponse, what: str) -> AcceleratorError:
        """The error an answer stands for."""
        with self._translated():
            text = answer.read(1 << 16, decode_content=False)
            answer.release_conn()
        error = problem_of(text)
        if error is None:
            kind = _BY_STATUS.get(answer.status, NodeError)
            error = kind(f"{self.url} answers {answer.status} {answer.reason or ''} to {what}".replace("  ", " "))
        if isinstance(error, AuthenticationError):
            where = "the setting [general] node_token, or the environment's ACCELERATOR_NODE_TOKEN"
            if "Authorization" in self._headers:
                return AuthenticationError(f"{self.url} does not take the token (any more): see {where}")
            return AuthenticationError(f"{self.url} asks for a token: give the one its operator made as {where}")
        if isinstance(error, NodeBusyError):
            error.retry_after_s = _retry_after_s(answer.headers.get("Retry-After", ""), type(error).retry_after_s)
        return error


def problem_of(text: bytes) -> AcceleratorError | None:
    """The error that an answer's body tells, if it does."""
    try:
        problem = json.loads(text)
        return error_from_code(problem["code"], problem["detail"])
    except (ValueError, KeyError, TypeError):
        return None


def _retry_after_s(text: str, default_s: float) -> float:
    """Seconds of a ``Retry-After``, which may be a number of them or a date (RFC 9110, 10.2.3)."""
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return default_s


def _no_address(url: str) -> NodeError:
    return NodeError(f"{url!r} is not the address of a node: use host, host:port or http(s)://host:port")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port.

    Raises:
        NodeError: it has none.
    """
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        raise _no_address(url) from None


def _new_pool(url: str, trust: Trust) -> urllib3.PoolManager:
    pool = urllib3.PoolManager(
        num_pools=2,
        maxsize=16,
        block=False,
        retries=False,
        blocksize=CHUNK_BYTES,
        # Reading the authorities' certificates takes a while, which a node on loopback need not cost.
        ssl_context=trust.context() if url.lower().startswith("https:") else None,
    )

    # Not a keyword of the manager, which would make plain connections with it, too.
    secure: Any = functools.partial(_HTTPSPool, assert_fingerprint=trust.fingerprint or None)
    pool.pool_classes_by_scheme = {"http": _HTTPPool, "https": secure}
    return pool


def _broke_off(error: urllib3.exceptions.SSLError) -> bool:
    """Whether the other side went away, which is no matter of trust."""
    return bool(error.args) and isinstance(error.args[0], (ssl.SSLEOFError, ssl.SSLZeroReturnError))


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """The part of urllib3's message that a person can use."""
    inner = error.args[-1] if error.args and isinstance(error.args[-1], Exception) else error.__cause__
    return " ".join(str(inner or error).rpartition("] ")[2].split()) or type(error).__name__
