"""``/v2/batch``: several small inputs in one request, each a job like any other, and their outputs in its answer."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from crc32c import crc32c
from fastapi import APIRouter, Request
from starlette.responses import Response

from acceleratorAPI.errors import InputError
from acceleratorAPI.node import inline, openapi
from acceleratorAPI.node.bodies import whole
from acceleratorAPI.node.clients import client_of
from acceleratorAPI.node.forms import FILE
from acceleratorAPI.node.inline import Asked, Found
from acceleratorAPI.node.multipart import MultipartReader, Part, boundary_of
from acceleratorAPI.node.problems import RequestError
from acceleratorAPI.node.rows import Once
from acceleratorAPI.node.service import Service
from acceleratorAPI.node.submission import Wanted, submit, submit_batch
from acceleratorAPI.node.v2_files import announced_checksum
from acceleratorAPI.node.v2_jobs import once_of
from acceleratorAPI.protocol import batch, paths


def router(service: Service) -> APIRouter:
    """This route of ``service``."""
    return _Batch(service).router


class _Batch:
    def __init__(self, service: Service) -> None:
        self._service = service
        self.router = APIRouter(tags=["jobs"])
        self.router.add_api_route(
            paths.BATCH,
            self.run,
            methods=["POST"],
            summary="Run a job for each of several small files",
            operation_id="batch",
            response_class=Response,
            responses=openapi.BATCH_RESPONSES,
            openapi_extra=openapi.BATCH_REQUEST,
        )

    async def run(self, request: Request) -> Response:
        """Each `datafile` of the form is the input of a job; each part of the answer is what `/v2/run` would answer.

        A part's `Status` is the status of that answer: one job that fails leaves the others as they are.
        """
        service, client = self._service, client_of(request).id
        asked = Asked(request.query_params, request.headers)
        with service.engine.admission.place(client):
            inputs, summed = await _inputs(request)
            service.engine.admission.check_jobs(client, len(inputs))
            once = once_of(client, asked.key, asked.text, summed.encode())
            found = await self._begun(asked, client, inputs, once)
        await inline.wait(service, request, [job for _, job in found if job is not None], asked.wait_s)
        return _together(inline.answer(service, request, one) for one in found)

    async def _begun(
        self, asked: Asked, client: str, inputs: list[tuple[str, bytes]], once: Once | None
    ) -> list[Found]:
        """The jobs: new ones, or those that were begun ``once`` before."""
        service = self._service
        async with service.keys.turn(once) as known:
            if known is None:
                wanted = asked.wanted(client)
                wanted.once = once
                return [(job.row, job) for job in await submit_batch(service, wanted, inputs)]
            found = []
            for number, (name, data) in enumerate(inputs, known):
                wanted = asked.wanted(client)
                wanted.name, wanted.data = name, data
                found.append(await inline.repeated(service, number, wanted) or await self._anew(wanted))
            return found

    async def _anew(self, wanted: Wanted) -> Found:
        """A new job for one that did not run to its end."""
        job = await submit(self._service, wanted)
        return job.row, job


async def _inputs(request: Request) -> tuple[list[tuple[str, bytes]], str]:
    """Name and content of each input, and what sums up the body.

    Raises:
        InputError: the form is malformed, or has something else or too much in it.
        RequestError: it is too long, or no form.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise RequestError(415, f"send the inputs as multipart/form-data, each as a part {FILE!r}")
    reader = MultipartReader(boundary_of(content_type))
    body = await whole(request, batch.BODY_BYTES, "; send fewer inputs at once")
    summed = crc32c(body)
    checksum = announced_checksum(request.headers)
    if checksum is not None:
        checksum.update(memoryview(body))
        checksum.verify(summed)
    inputs: list[tuple[str, bytes]] = []
    name, content = "", bytearray()
    for event in reader.feed(body):
        if isinstance(event, Part):
            name, content = _name(event), bytearray()
        elif isinstance(event, memoryview):
            content += event
            if len(content) > batch.INPUT_BYTES:
                raise InputError(
                    f"{FILE} {name[:100]!r} has more than {batch.INPUT_BYTES} bytes: send it by POST {paths.RUN}"
                )
        else:
            inputs.append((name, bytes(content)))
            if len(inputs) > batch.MOST_JOBS:
                raise InputError(f"more than {batch.MOST_JOBS} inputs in one request: send fewer at once")
    reader.close()
    if not inputs:
        raise InputError(f"the form has no part {FILE!r}")
    return inputs, f"{len(body)} {summed:08x}"


def _name(part: Part) -> str:
    if part.name != FILE:
        raise InputError(f"a part named {part.name[:100]!r}: each input is a part {FILE!r}; parameters are in the head")
    return (part.filename or "")[:255]


def _together(answers: Iterable[Response]) -> Response:
    """All of ``answers`` as the parts of one (RFC 2046, 5.1)."""
    boundary = secrets.token_hex(16)
    parts: list[bytes] = []
    for answer in answers:
        fields = b"".join(b"%b: %b\r\n" % field for field in answer.raw_headers)
        parts += [
            f"--{boundary}\r\nStatus: {answer.status_code}\r\n".encode(),
            fields,
            b"\r\n",
            bytes(answer.body),
            b"\r\n",
        ]
    parts.append(f"--{boundary}--\r\n".encode())
    return Response(b"".join(parts), 200, media_type=f"multipart/mixed; boundary={boundary}")
