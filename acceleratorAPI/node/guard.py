"""Who may ask: the token, and on a node without one the Host and Origin of requests. Outside of all routes."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from acceleratorAPI.errors import AcceleratorError, AuthenticationError, PermissionDeniedError
from acceleratorAPI.node.problems import problem_of
from acceleratorAPI.node.settings import is_loopback
from acceleratorAPI.protocol import paths

OPEN = frozenset({"/", "/docs", "/openapi.json", paths.LIVE, paths.READY})


class Guard:
    """Lets a request through to ``app``, or answers why not before a byte of its body is read."""

    def __init__(self, app: ASGIApp, token: str | None, public_host: str | None) -> None:
        """Args:
        app: the application behind.
        token: what a client must show; ``None`` lets every program of this machine in.
        public_host: a host name that is right besides those of the loopback interface.
        """
        self._app = app
        self._digest = None if token is None else hashlib.sha256(token.encode()).digest()
        self._public_host = public_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            if self._digest is None:
                self._check_local(headers)
            elif scope["path"] not in OPEN and not scope["path"].startswith(("/docs/", paths.WEB)):
                self._check_token(headers.get("authorization", ""), self._digest)
        except AcceleratorError as error:
            await problem_of(error)(scope, receive, send)
            return
        # The framework answers an unexpected error and then raises it again, for a server to log a second time.
        with contextlib.suppress(Exception):
            await self._app(scope, receive, send)

    @staticmethod
    def _check_token(authorization: str, digest: bytes) -> None:
        scheme, _, value = authorization.partition(" ")
        token = value.strip()
        if scheme.lower() == "basic":
            try:
                token = base64.b64decode(token, validate=True).decode("utf-8").partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                token = ""
        elif scheme.lower() != "bearer":
            token = ""
        if not token:
            raise AuthenticationError("this node asks for its token: send Authorization: Bearer TOKEN")
        if not hmac.compare_digest(hashlib.sha256(token.encode()).digest(), digest):
            raise AuthenticationError("this is not the token of this node")

    def _check_local(self, headers: Headers) -> None:
        """A web page must not use a node that asks for no token, by whatever name it reaches it."""
        host = _host(headers.get("host", ""))
        if host and not self._ours(host):
            raise PermissionDeniedError(f"Host {host!r} is not a name of this machine's loopback interface")
        origin = headers.get("origin")
        if origin is not None and not self._ours(urlsplit(origin).hostname or ""):
            raise PermissionDeniedError("a node without a token takes no requests of web pages from elsewhere")
        if headers.get("sec-fetch-site") == "cross-site":
            raise PermissionDeniedError("a node without a token takes no requests of web pages from elsewhere")

    def _ours(self, host: str) -> bool:
        return is_loopback(host) or (self._public_host is not None and host == self._public_host)


def _host(value: str) -> str:
    try:
        return urlsplit(f"//{value}").hostname or ""
    except ValueError:
        return value
