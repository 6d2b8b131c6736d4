"""The headers from which a node tells its own URL, and the URLs by which requests name configurations."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

from acceleratorAPI.errors import InputError
from acceleratorAPI.node.urls import Urls, configuration_id

ALLOWED = (InputError,)
SEEDS = (
    b"node.example:8080\nhttps\nproxy.example\n/api/v1\n/v1.0/configuration/12/",
    b"[::1]:80\nhttp, https\na, b\n/\nhttp://[::1]:80/v1.0/configuration/3",
    b"\n\n\n\n17",
    b"[1]\n\n\n\n17",
    b"a:99999\n\n[::1]:0\n\n17",
    b"127.0.0.1\nftp\nevil/\n//x\nhttp://[/v1.0/configuration/3",
)
_NAMES = (b"host", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix")


def run(data: bytes) -> None:
    """A base is a URL with a host and nothing after its path, whoever wrote the headers."""
    *values, reference = (data.split(b"\n") + [b""] * 5)[:5]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": list(zip(_NAMES, values, strict=True)),
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
        "scheme": "http",
    }
    base = urlsplit(Urls(None, "http://127.0.0.1:1").base(Request(scope)))
    assert base.scheme in ("http", "https")
    assert base.netloc
    assert base.port is None or 1 <= base.port <= 65535
    assert not base.query
    assert not base.fragment
    assert base.username is None
    assert 0 <= configuration_id(reference.decode("utf-8", "replace")) < 10**18
