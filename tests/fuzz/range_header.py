"""The headers of a download that ask for a part of it."""

from __future__ import annotations

from starlette.requests import Request

from acceleratorAPI.node.download import _wanted
from acceleratorAPI.node.problems import RequestError

ALLOWED = (RequestError,)
SEEDS = (
    b"1000\nbytes=0-99\n",
    b'1000\nbytes=-5\n"tag"',
    b"5\nbytes = 7 -\n",
    b"0\nbytes=0-0\n",
    b"99999999999999\nbytes=0-9999999999999999999\nother",
    b"7\nbytes=1-2,3-4\n",
)


def run(data: bytes) -> None:
    """What is sent lies in the file."""
    size_text, wanted, condition = (data.split(b"\n") + [b""] * 3)[:3]
    size = int(size_text[:18]) if size_text.isdigit() and size_text.isascii() else len(data)
    headers = [(b"range", wanted), *([(b"if-range", condition)] if condition else [])]
    start, end = _wanted(Request({"type": "http", "method": "GET", "headers": headers}), size, '"tag"')
    assert 0 <= start < end <= size or (start, end) == (0, size)
