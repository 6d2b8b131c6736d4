"""What each route asks of a token: the one place that says it. A route that is missing here asks for ``admin``."""

from __future__ import annotations

import re
from typing import Literal

from acceleratorAPI.protocol import paths
from acceleratorAPI.protocol.tokens import Scope

OPEN: Literal["open"] = "open"
Need = Scope | Literal["open"]

_ID = r"[^/]+"
# Methods, path (without a final slash), need; the first that fits counts. HEAD is as GET.
_RULES: tuple[tuple[str, str, Need], ...] = (
    ("GET", "", OPEN),
    ("GET", "/docs(/[^/]+)?", OPEN),
    ("GET", "/openapi.json", OPEN),
    ("GET", f"{paths.LIVE}|{paths.READY}", OPEN),
    ("GET", "/v1.0/configuration(/.*)?", "read"),
    ("GET", "/v1.0/process(/.*)?", "read"),
    ("GET", "/v1.0/schema", "read"),
    ("GET", paths.STOP, "stop"),
    ("POST", "/v1.0/configuration", "configure"),
    ("POST", "/v1.0/process", "process"),
    ("DELETE", f"/v1.0/process/{_ID}", "process"),
    ("GET", paths.FUNCTIONS, "read"),
    ("GET", paths.LEASE, "read"),
    ("PUT", paths.LEASE, "admin"),
    ("POST", paths.UNSENT_USAGE, "admin"),
    ("GET", "/v2/node|/metrics", "read"),
    ("GET", "/web/[^/]+", OPEN),
    # It ends the request that is adding to the upload.
    ("HEAD", "/v2/files/.*", "process"),
    ("GET", "/v2/(files|jobs)(/.*)?", "read"),
    ("OPTIONS", "/v2/files(/.*)?", OPEN),
    ("POST|PUT|PATCH|DELETE", "/v2/(files|jobs)(/.*)?", "process"),
    # Its answer is the sender's own output.
    ("POST", f"{paths.RUN}|{paths.BATCH}", "process"),
)
_COMPILED = tuple((methods.split("|"), re.compile(path), need) for methods, path, need in _RULES)


def declared(method: str, path: str) -> Need | None:
    """What is said of that route, ``None`` when nothing is."""
    path = path.removesuffix("/")
    for asked in (method, "GET") if method == "HEAD" else (method,):
        for methods, pattern, need in _COMPILED:
            if asked in methods and pattern.fullmatch(path):
                return need
    return None


def need_of(method: str, path: str) -> Need:
    """What a request needs; what nobody thought of, an administrator may do."""
    return declared(method, path) or "admin"
