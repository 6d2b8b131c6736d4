"""Who may ask for what: the token, and on a node without one the Host and Origin of requests. Outside of all routes."""

from __future__ import annotations

import base64
import binascii
import contextlib
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from acceleratorAPI.errors import AcceleratorError, AuthenticationError, PermissionDeniedError
from acceleratorAPI.node.clients import ANYBODY, Client, set_client
from acceleratorAPI.node.problems import problem_of
from acceleratorAPI.node.scopes import OPEN, need_of
from acceleratorAPI.node.settings import is_loopback
from acceleratorAPI.node.tokens import Grant, Tokens


class Guard:
    """Lets a request through to ``app``, or answers why not before a byte of its body is read.

    A token that is revoked, or expires, while a request or answer streams ends that at its next piece.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens | None, public_host: str | None) -> None:
        """Args:
        app: the application behind.
        tokens: of which a client must show one; ``None`` lets every program of this machine in.
        public_host: a host name that is right besides those of the loopback interface.
        """
        self._app = app
        self._tokens = tokens
        self._public_host = public_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            need = need_of(scope["method"], scope["path"])
            if self._tokens is None:
                self._check_local(headers)
                set_client(scope, ANYBODY)
            elif need != OPEN:
                grant = self._tokens.grant(_token(headers.get("authorization", "")))
                grant.check(need)
                set_client(scope, Client(grant.id, everything="admin" in grant.scopes))
                receive, send = _watched(self._tokens, grant, receive, send)
        except AcceleratorError as error:
            await problem_of(error)(scope, receive, send)
            return
        # The framework answers an unexpected error and then raises it again, for a server to log a second time.
        with contextlib.suppress(Exception):
            await self._app(scope, receive, send)

    def _check_local(self, headers: Headers) -> None:
        """A web page must not use a node that asks for no token, by whatever name it reaches it."""
        host = _host(headers.get("host", ""))
        if host and not self._ours(host):
            raise PermissionDeniedError(f"Host {host!r} is not a name of this machine's loopback interface")
        origin = headers.get("origin")
        if origin is not None and not self._ours(_host(origin.partition("//")[2])):
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


def _token(authorization: str) -> str:
    """The token of an ``Authorization`` header, Bearer or Basic.

    Raises:
        AuthenticationError: there is none.
    """
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
        raise AuthenticationError("this node asks for a token: send Authorization: Bearer TOKEN")
    return token


def _watched(tokens: Tokens, grant: Grant, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Both ends of a request that lasts no longer than ``grant``."""

    async def receive_granted() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            tokens.check(grant)
        return message

    async def send_granted(message: Message) -> None:
        if message["type"] == "http.response.body" and message.get("more_body", False):
            tokens.check(grant)
        await send(message)

    return receive_granted, send_granted
