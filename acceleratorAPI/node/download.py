"""A file as an answer, whole, one range of it, or while it grows: from the page cache through two reused buffers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from acceleratorAPI.errors import JobError, NotFoundError
from acceleratorAPI.node import pieces
from acceleratorAPI.node.problems import RequestError
from acceleratorAPI.protocol.digests import crc32c_field

if TYPE_CHECKING:
    from acceleratorAPI.node.live import LiveJob

# Linux answers a read that would wait for the disk with EAGAIN.
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.IGNORECASE)


class Download(Response):
    """Streams a file that does not change any more. Several ranges at once are answered by the whole file."""

    def __init__(
        self, request: Request, path: Path, threads: Executor, crc32c: int | None = None, start: int | None = None
    ) -> None:
        """Args:
            request: may ask for one range.
            path: of the file.
            threads: where it is read.
            crc32c: of the whole file, when it is known.
            start: leave out the bytes before, whatever the request asks for.

        Raises:
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
            self._start, self._end = (min(start, size), size) if start is not None else _wanted(request, size, etag)
        except RequestError:
            os.close(self._descriptor)
            raise
        headers = {"Accept-Ranges": "bytes", "ETag": etag, "Content-Length": str(self._end - self._start)}
        if crc32c is not None:
            headers["Repr-Digest"] = crc32c_field(crc32c)
        partial = start is None and (self._start, self._end) != (0, size)
        if partial:
            headers["Content-Range"] = f"bytes {self._start}-{self._end - 1}/{size}"
        super().__init__(None, 206 if partial else 200, headers, "application/octet-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        at = self._start if scope["method"] != "HEAD" else self._end
        # The server swallows what is sent to a client that left: without this the whole file would be read for it.
        left = asyncio.ensure_future(_disconnect(receive))
        reader = _Reader(self._descriptor, self._threads)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while at < self._end and not left.done():
                at += await reader.send(at, self._end, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            reader.done()
        finally:
            left.cancel()
            reader.close()


class _Reader:
    """Sends pieces of a file.

    A buffer is filled again when the piece after the one that was in it has been sent: the server takes a piece only
    when it is rid of all of those before.
    """

    def __init__(self, descriptor: int, threads: Executor) -> None:
        """Args:
        descriptor: of the file; it belongs to the reader.
        threads: where it is read when it comes from the disk.
        """
        self._descriptor = descriptor
        self._threads = threads
        self._next, self._last = pieces.buffer(), pieces.buffer()

    def done(self) -> None:
        """The server has sent everything: the buffers are free."""
        pieces.give_back(self._next, self._last)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    async def send(self, at: int, end: int, send: Send) -> int:
        """Send the bytes from ``at`` on, as many as fit a piece; how many these were."""
        piece = self._next[: end - at]
        count = await self._read(piece, at)
        if not count:
            raise OSError("a result file became shorter while it was sent")
        await send({"type": "http.response.body", "body": piece[:count], "more_body": True})
        self._next, self._last = self._last, self._next
        # A client that is quick enough is never waited for; others have their turn, too.
        await asyncio.sleep(0)
        return count

    async def _read(self, piece: memoryview, at: int) -> int:
        if _NOWAIT:
            with contextlib.suppress(OSError):
                return os.preadv(self._descriptor, [piece], at, _NOWAIT)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, os.preadv, self._descriptor, [piece], at)


class Follow(Response):
    """Streams a job's output while it grows, to its end. A job that fails cuts the connection: the end is missing."""

    def __init__(self, job: LiveJob, paths: tuple[Path, Path], offset: int, threads: Executor) -> None:
        """Args:
        job: whose output it is.
        paths: of the file while it grows, and once it is whole.
        offset: bytes the client has already.
        threads: where the file is read.
        """
        self._job = job
        self._paths = paths
        self._at = offset
        self._threads = threads
        super().__init__(None, 200, {"Cache-Control": "no-store"}, "application/octet-stream")
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        left = asyncio.ensure_future(_disconnect(receive))
        reader: _Reader | None = None
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while not left.done():
                ended, there = self._job.ended.is_set(), self._job.readable_bytes
                if self._job.failed:
                    raise JobError("the job failed while its output was read")
                if self._at < there:
                    reader = reader or _Reader(self._open(), self._threads)
                    self._at += await reader.send(self._at, there, send)
                elif ended:
                    break
                else:
                    changed = asyncio.ensure_future(self._job.change.wait())
                    await asyncio.wait([changed, left], return_when=asyncio.FIRST_COMPLETED)
                    changed.cancel()
            if not left.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                if reader is not None:
                    reader.done()
        finally:
            left.cancel()
            if reader is not None:
                reader.close()

    def _open(self) -> int:
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        raise NotFoundError("the result of this job is gone")


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
