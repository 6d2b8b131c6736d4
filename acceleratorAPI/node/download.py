"""A file as an answer: 1 MiB reads in a thread (64 KiB reads are five times slower), one byte range."""

from __future__ import annotations

import asyncio
import os
import re
from concurrent.futures import Executor
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from acceleratorAPI.errors import NotFoundError
from acceleratorAPI.node.problems import RequestError

READ_BYTES = 1 << 20

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.IGNORECASE)


class Download(Response):
    """Streams a file that does not change any more. Several ranges at once are answered by the whole file."""

    def __init__(self, request: Request, path: Path, threads: Executor) -> None:
        """Raises:
        NotFoundError: the file is gone.
        RequestError: the range lies outside of the file.
        """
        self._threads = threads
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise NotFoundError("the result of this job is gone") from None
        size = os.fstat(self._descriptor).st_size
        etag = f'"{path.name}"'
        try:
            self._start, self._end = _wanted(request, size, etag)
        except RequestError:
            os.close(self._descriptor)
            raise
        headers = {"Accept-Ranges": "bytes", "ETag": etag, "Content-Length": str(self._end - self._start)}
        partial = (self._start, self._end) != (0, size)
        if partial:
            headers["Content-Range"] = f"bytes {self._start}-{self._end - 1}/{size}"
        super().__init__(None, 206 if partial else 200, headers, "application/octet-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        loop = asyncio.get_running_loop()
        at = self._start if scope["method"] != "HEAD" else self._end
        # The server swallows what is sent to a client that left: without this the whole file would be read for it.
        left = asyncio.ensure_future(_disconnect(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while at < self._end and not left.done():
                wanted = min(READ_BYTES, self._end - at)
                data = await loop.run_in_executor(self._threads, os.pread, self._descriptor, wanted, at)
                if not data:
                    raise OSError("a result file became shorter while it was sent")
                at += len(data)
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            left.cancel()
            os.close(self._descriptor)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _wanted(request: Request, size: int, etag: str) -> tuple[int, int]:
    """First byte and the one after the last."""
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    condition = request.headers.get("if-range")
    if match is None or not (match[1] or match[2]) or (condition is not None and condition != etag):
        return 0, size
    if match[1]:
        start, end = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:
            return 0, size
    else:
        start, end = max(0, size - int(match[2])), size
    if start >= size:
        raise RequestError(
            416, f"the file has {size} bytes; the range lies behind them", {"Content-Range": f"bytes */{size}"}
        )
    return start, end
