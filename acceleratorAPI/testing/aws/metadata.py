"""The metadata service of an instance: version 2 only, as an instance asked for with ``HttpTokens=required`` has it."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

Tree = dict[str, Any]
_TOKEN_HEADER, _TTL_HEADER = "X-aws-ec2-metadata-token", "X-aws-ec2-metadata-token-ttl-seconds"


class MetadataService:
    """Answers connections; ``tree`` makes what is below ``/latest`` anew for each request."""

    def __init__(self, tree: Callable[[], Tree]) -> None:
        self.tree = tree
        self._tokens: dict[str, float] = {}

    def new_token(self, ttl_s: int) -> str:
        """A token that is valid for ``ttl_s`` seconds."""
        token = secrets.token_urlsafe(40)
        self._tokens[token] = time.monotonic() + ttl_s
        return token

    def knows(self, token: str) -> bool:
        """Whether the token is valid."""
        return self._tokens.get(token, 0.0) > time.monotonic()

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection."""
        service = self

        class Handler(_Handler):
            metadata = service

        try:
            with connection:
                Handler(connection, ("instance", 0), None)  # type: ignore[arg-type]
        except OSError:
            pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "EC2ws", ""
    metadata: MetadataService

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def _answer(self, status: int, text: str, **headers: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        """Make a token."""
        ttl = self.headers.get(_TTL_HEADER, "")
        if self.path != "/latest/api/token" or "X-Forwarded-For" in self.headers:
            self._answer(403, "")
        elif not ttl.isdigit() or not 0 < int(ttl) <= 21600:
            self._answer(400, "")
        else:
            self._answer(200, self.metadata.new_token(int(ttl)), X_Aws_Ec2_Metadata_Token_Ttl_Seconds=ttl)

    def do_GET(self) -> None:
        """Read a leaf, or list what is below a node."""
        if not self.metadata.knows(self.headers.get(_TOKEN_HEADER, "")):
            self._answer(401, "")
            return
        found: Any = {"latest": self.metadata.tree()}
        for part in self.path.strip("/").split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        if found is None:
            self._answer(404, "")
        elif isinstance(found, dict):
            self._answer(
                200, "\n".join(f"{name}/" if isinstance(below, dict) else name for name, below in found.items())
            )
        else:
            self._answer(200, str(found))
