"""``/v2/run``: a job in one request, whose body is the input and whose answer is the output (see ``inline``)."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator

from crc32c import crc32c
from fastapi import APIRouter, Request
from starlette.responses import Response

from acceleratorAPI.node import inline, openapi
from acceleratorAPI.node.bodies import pour, whole
from acceleratorAPI.node.clients import client_of
from acceleratorAPI.node.commands import INLINE_BYTES
from acceleratorAPI.node.inline import Asked, Found
from acceleratorAPI.node.rows import Once
from acceleratorAPI.node.service import Service
from acceleratorAPI.node.spool import Spool, SpoolWriter
from acceleratorAPI.node.submission import Wanted, submit
from acceleratorAPI.node.uploads import Pour
from acceleratorAPI.node.v2_files import Checksum, announced_checksum
from acceleratorAPI.node.v2_jobs import once_of
from acceleratorAPI.protocol import paths


def router(service: Service) -> APIRouter:
    """This route of ``service``."""
    return _Run(service).router


class _Arriving:
    """A body on its way into a job that is wanted: into its memory, or what is larger into the spool."""

    def __init__(self, spool: Spool, wanted: Wanted, checksum: Checksum | None) -> None:
        self._spool, self._wanted, self._checksum = spool, wanted, checksum
        self._held = bytearray()
        self._writer: SpoolWriter | None = None

    @property
    def size_bytes(self) -> int:
        return self._writer.end if self._writer is not None else len(self._held)

    def take(self, piece: memoryview) -> None:
        if self._checksum is not None:
            self._checksum.update(piece)
        if self._writer is None and len(self._held) + len(piece) > INLINE_BYTES:
            self._wanted.spooled = self._spool.new_name()
            self._writer = self._spool.writer(self._wanted.spooled)
            self._writer.write(memoryview(self._held))
        if self._writer is None:
            self._held += piece
        else:
            self._writer.write(piece)

    def end(self, *, named: bool) -> int:
        """All is here; its CRC32C. Of nothing at all, only what was ``named`` is an empty input."""
        wanted, writer = self._wanted, self._writer
        summed = writer.crc32c if writer is not None else crc32c(self._held)
        if self._checksum is not None:
            self._checksum.verify(summed)
        if writer is not None:
            wanted.spooled_bytes, wanted.spooled_crc32c, wanted.inline = writer.end, summed, False
        else:
            wanted.data = bytes(self._held) if self._held or named else None
        return summed

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Run:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._engine = service.engine
        self.router = APIRouter(tags=["jobs"])
        self.router.add_api_route(
            paths.RUN,
            self.run,
            methods=["POST"],
            summary="Run a job in one request",
            operation_id="run",
            response_class=Response,
            responses=openapi.RUN_RESPONSES,
            openapi_extra=openapi.RUN_REQUEST,
        )

    async def run(self, request: Request) -> Response:
        """The body is the input, the answer the output, with the job's record in `Job-Record`.

        A large output, or one that is not there after `wait`, is where `Location` says (303); it grows there.
        A job that gives no output is answered with its record, one that failed with its error.
        """
        asked, client = Asked(request.query_params, request.headers), client_of(request).id
        wanted = asked.wanted(client)
        with self._engine.admission.place(client):
            async with self._input(request, wanted) as sum_of_input:
                once = once_of(client, asked.key, asked.text, sum_of_input.encode())
                found = await self._begun(wanted, once)
        if (job := found[1]) is not None:
            await inline.wait(self._service, request, [job], asked.wait_s)
        return inline.answer(self._service, request, found)

    @contextlib.asynccontextmanager
    async def _input(self, request: Request, wanted: Wanted) -> AsyncIterator[str]:
        """Read the body into ``wanted``: into memory, or what is larger into the spool; what sums it up."""
        spool, admission = self._service.spool, self._engine.admission
        length = request.headers.get("content-length", "")
        size_bytes = int(length) if length.isdigit() else 0
        if size_bytes > INLINE_BYTES:
            await admission.check_room(wanted.client, size_bytes)
            spool.check_room(size_bytes)
        arriving = _Arriving(spool, wanted, announced_checksum(request.headers))
        try:
            if 0 < size_bytes <= INLINE_BYTES:
                arriving.take(memoryview(await whole(request, INLINE_BYTES)))
            else:
                body: Pour = functools.partial(pour, request, spool.threads)
                async for _ in (body if size_bytes else admission.metered(wanted.client, body))(arriving.take):
                    pass
            summed = arriving.end(named="content-type" in request.headers)
            yield f"{size_bytes or arriving.size_bytes} {summed:08x}"
        finally:
            arriving.close()
            spool.remove(wanted.spooled)

    async def _begun(self, wanted: Wanted, once: Once | None) -> Found:
        """The job: a new one, or the one that was begun ``once`` before."""
        async with self._service.keys.turn(once) as known:
            found = None if known is None else await inline.repeated(self._service, known, wanted)
            if found is None:
                wanted.once = once
                job = await submit(self._service, wanted)
                found = job.row, job
            return found
