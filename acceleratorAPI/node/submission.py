"""A job from what a request asks for: checked here, once, for v1.0 and v2 alike; then the engine has it."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from acceleratorAPI.errors import InputError
from acceleratorAPI.functions import registry
from acceleratorAPI.functions.base import check_parameters
from acceleratorAPI.node.courier import Ends
from acceleratorAPI.node.live import LiveJob
from acceleratorAPI.node.places import SourcePlace, source_place, target_place
from acceleratorAPI.node.redact import masked, scrubbed
from acceleratorAPI.node.rows import JobRow, Once, now
from acceleratorAPI.node.service import Service
from acceleratorAPI.node.uploads import Upload, boot_id
from acceleratorAPI.node.urls import configuration_id
from acceleratorAPI.protocol.cards import Card
from acceleratorAPI.remote.names import is_url, shown


@dataclass
class Wanted:
    """What a request asks for.

    Attributes:
        configuration: url or id; empty: the active one.
        accelerator: the function the client believes it talks to, if it says so.
        parameters: of the function.
        echo: the request's parameters as they may be stored and answered.
        source: path or URL of an input on the node's machine.
        target: path or URL of an output on the node's machine.
        spooled: spool name of an input that came with the request.
        spooled_bytes: its size.
        spooled_crc32c: its CRC32C.
        data: a small input that came with the request.
        inline: the request waits for the output.
        upload: an input that comes, or came, by itself.
        name: the user's name of the input.
        folder: the input is a folder's tar.
        client: the id of the token of the request.
        once: makes a repeated request find the first one's job.
        again: a job that is to run once more, for the output that its request did not get.
    """

    configuration: str = ""
    accelerator: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    echo: str = "{}"
    source: str = ""
    target: str = ""
    spooled: str | None = None
    spooled_bytes: int = 0
    spooled_crc32c: int = 0
    data: bytes | None = None
    inline: bool = False
    upload: Upload | None = None
    name: str = ""
    folder: bool = False
    client: str = ""
    once: Once | None = None
    again: JobRow | None = None


async def submit(service: Service, wanted: Wanted) -> LiveJob:
    """Check and queue; what came in the spool is then the job's.

    Raises:
        InputError: something in the request does not fit the function.
        StateError: the configuration cannot be used.
        NodeBusyError: the node takes no more.
        UsageQuotaError: the access key has used what it may.
    """
    row, ends = await _checked(service, wanted)
    job = await service.engine.submit(
        row,
        wanted.parameters,
        upload=wanted.upload,
        courier=service.couriers.courier(ends),
        data=wanted.data,
        once=wanted.once,
    )
    wanted.spooled = None
    return job


async def submit_batch(service: Service, wanted: Wanted, inputs: Sequence[tuple[str, bytes]]) -> list[LiveJob]:
    """As ``submit``: a job for each of ``inputs``, small ones with their names. Checked once, for they differ in
    nothing else.
    """
    wanted.name, wanted.data = inputs[0]
    row, _ = await _checked(service, wanted, len(inputs))
    rows = [
        replace(
            row,
            input_name=name or None,
            input_bytes=len(data),
            output=service.spool.new_name() if row.output is not None else None,
        )
        for name, data in inputs
    ]
    return await service.engine.submit_batch(rows, wanted.parameters, [data for _, data in inputs], wanted.once)


async def _checked(service: Service, wanted: Wanted, jobs: int = 1) -> tuple[JobRow, Ends]:
    """The row of what is wanted, and its ends that are URLs."""
    engine = service.engine
    number = configuration_id(wanted.configuration) if wanted.configuration else None
    configuration = await engine.configurations.usable(number)
    if service.metering is not None:
        await service.metering.check(configuration.id, len(engine.live) + jobs - 1)
    kind = registry.load(configuration.accelerator)
    card = kind.card
    if wanted.accelerator not in (None, configuration.accelerator):
        raise InputError(
            f"env.accelerator = {wanted.accelerator!r}, but configuration {configuration.id} is of"
            f" {configuration.accelerator!r}: configure {wanted.accelerator!r} first"
        )
    ends = service.couriers.ends(_remote(wanted.source), _remote(wanted.target))
    source = _source(service, wanted, card, ends)
    target = _target(service, wanted, card, source, ends)
    check_parameters_scrubbed(kind.process_parameters, wanted.parameters, card.name)
    stored = masked(wanted.parameters)
    sent = wanted.upload.row.id if wanted.upload is not None else wanted.spooled
    if ends.source is not None:
        sent, wanted.name = service.spool.new_name(), shown(str(ends.source))
    row = JobRow(
        configuration=configuration.id,
        accelerator=configuration.accelerator,
        created=now(),
        parameters=wanted.echo,
        function_parameters=json.dumps(stored),
        # The URLs of a job may be signed, so they are not kept either.
        masked=stored != wanted.parameters or ends != Ends(),
        source=source.path if source is not None else None,
        target=target,
        folder=source.is_folder if source is not None else wanted.folder,
        input=sent,
        input_name=source.path if source is not None else wanted.name or None,
        input_bytes=_size(wanted, source),
        input_crc32c=wanted.spooled_crc32c if wanted.spooled is not None else None,
        boot=boot_id(),
        output=service.spool.new_name() if target is None and card.output != "none" else None,
        inline=wanted.inline,
        client=wanted.client,
    )
    if (again := wanted.again) is not None:
        row.id, row.created, row.attempts = again.id, again.created, again.attempts + 1
    return row, ends


def _remote(text: str) -> str | None:
    """``text`` when it names a file of another machine."""
    return text if is_url(text) and not text.lower().startswith("file:") else None


def check_need(field_name: str, need: str, given: bool, card: Card, request: str) -> None:
    """A file that must, or must not, be there.

    Raises:
        InputError: it is not as the card says.
    """
    if need == "required" and not given:
        raise InputError(f"{card.name}: {request} needs a {field_name}")
    if need == "none" and given:
        raise InputError(f"{card.name}: {request} takes no {field_name}")


def check_parameters_scrubbed(model: Any, values: dict[str, Any], function: str) -> None:
    """``check_parameters``, whose message must not repeat a secret.

    Raises:
        ParameterError: as there.
    """
    try:
        check_parameters(model, values, function)
    except InputError as error:
        raise type(error)(scrubbed(str(error), values)) from None


def _source(service: Service, wanted: Wanted, card: Card, ends: Ends) -> SourcePlace | None:
    """The input on the node's machine, if it is there; every way an input can come is checked."""
    sent = wanted.spooled is not None or wanted.upload is not None or wanted.data is not None
    if wanted.source and sent:
        raise InputError("both datafile and source were sent; send one of them")
    roots = service.settings.files_under
    source = None
    if wanted.source and ends.source is None:
        source = source_place(wanted.source, roots, folder=card.folder)
    if wanted.folder and not card.folder:
        raise InputError(f"folder: {card.name} takes no folder")
    sent = sent or ends.source is not None
    if wanted.folder and not (sent or (source is not None and source.is_folder)):
        raise InputError("folder: send the folder as a tar file, or name it as source")
    check_need("datafile", card.input, source is not None or sent, card, "POST process")
    return source


def _target(service: Service, wanted: Wanted, card: Card, source: SourcePlace | None, ends: Ends) -> str | None:
    if not wanted.target:
        return None
    if card.output == "none":
        raise InputError(f"{card.name}: it gives no file, so it takes no target")
    if ends.target is not None:
        return None
    target = target_place(wanted.target, service.settings.files_under)
    if source is not None and source.is_folder and pathlib.Path(target).is_relative_to(source.path):
        raise InputError(f"target = {wanted.target!r} lies in the folder that is read: name another")
    return target


def _size(wanted: Wanted, source: SourcePlace | None) -> int | None:
    if source is not None:
        return source.size_bytes
    if wanted.upload is not None:
        return wanted.upload.row.length
    if wanted.data is not None:
        return len(wanted.data)
    return wanted.spooled_bytes if wanted.spooled is not None else None
