"""``acceleratorapi start``, ``process`` and ``stop``: one go, or a named accelerator kept between calls."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acceleratorAPI.cli import output, progress, remembered
from acceleratorAPI.cli.output import AsJson
from acceleratorAPI.config import keywords
from acceleratorAPI.errors import (
    FunctionUnknownError,
    InputError,
    InstanceNotFoundError,
    ParameterError,
    StateError,
    nearest,
)

if TYPE_CHECKING:
    from acceleratorAPI.client.accelerator import Accelerator
    from acceleratorAPI.client.results import ProcessResult
    from acceleratorAPI.protocol.stop import StopMode

PROCESS_EXAMPLES = """
Examples:

  acceleratorapi process cast_gzip big.tar big.tar.gz -p level=2

  acceleratorapi process axonerve_hyperfire in.txt out.txt --config-file corpus.csv

  acceleratorapi process cast_gzip s3://bucket/big.tar s3://bucket/big.tar.gz

  tar c folder | acceleratorapi process cast_gzip - folder.tar.gz
"""

START_EXAMPLES = """
Examples:

  acceleratorapi start axonerve_hyperfire --name replace --config-file corpus.csv

  acceleratorapi process replace in.txt out.txt

  acceleratorapi stop replace
"""

STOP_EXAMPLES = """
Examples:

  acceleratorapi stop replace                      end it and remove its files

  acceleratorapi stop replace --stop-mode STOP     end it, keep its state for a later start
"""

Datafile = Annotated[
    str | None, typer.Option("--config-file", metavar="FILE", help="The function's configuration file (a corpus).")
]
Values = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="KEY=VALUE", help="A function parameter; give it once for each."),
]
Conf = Annotated[str | None, typer.Option(metavar="FILE", help="Read this accelerator.conf.")]
Provider = Annotated[str | None, typer.Option(help="Where the instance is made; default LOCAL, this machine.")]
Address = Annotated[str | None, typer.Option(help="Use the instance at this address.")]
NodeOpensUrls = Annotated[
    bool | None, typer.Option("--node-opens-urls", help="The node, not this command, reads and writes URLs.")
]


def process(
    name: Annotated[str, typer.Argument(metavar="FUNCTION|NAME", help="A function, or a started accelerator.")],
    source: Annotated[
        str | None, typer.Argument(metavar="IN", help="The input file, folder or URL; - is standard input.")
    ] = None,
    target: Annotated[
        str | None, typer.Argument(metavar="OUT", help="The output file or URL; - is standard output.")
    ] = None,
    datafile: Datafile = None,
    values: Values = None,
    provider: Provider = None,
    instance_ip: Address = None,
    conf: Conf = None,
    node_opens_urls: NodeOpensUrls = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")] = False,
    as_json: AsJson = False,
) -> None:
    """Process a file or folder: start, process and stop in one go, or on an accelerator started before."""
    entry = remembered.load().get(name)
    start_with, parameters = _split(name, entry, parse_parameters(values))
    # An empty IN is none.
    read_from = _standard(sys.stdin, "IN") if source == "-" else source or None
    write_to = _standard(sys.stdout, "OUT") if target == "-" else target
    ready = _ready(name, entry, datafile, provider, instance_ip, conf, node_opens_urls, start_with)
    if quiet:
        output.no_steps()
    with _interrupted(target or source), ready as accelerator, contextlib.ExitStack() as stack:
        if write_to is None and read_from is not None and not accelerator.takes_input:
            # One name alone is the output of a function that reads nothing.
            read_from, write_to, target = None, _standard(sys.stdout, "OUT") if source == "-" else source, source
        if write_to is None and (accelerator.gives_output or (accelerator.may_give_output and entry is None)):
            raise InputError(f"{accelerator.accelerator} gives a file: name OUT, or - for standard output")
        callback = stack.enter_context(progress.shown(quiet=quiet))
        result = accelerator.process(
            read_from,
            write_to,
            progress=callback,
            **parameters,
        )
        _check_delivery(result, target, kept=entry is not None)
    if as_json:
        output.document(result.as_dict(), sys.stderr if target == "-" else sys.stdout)
        return
    if not quiet:
        output.say(str(result))
    if target is None:
        output.answers(result.specific, sys.stdout)
    elif not quiet:
        output.answers(result.specific, sys.stderr)


def _check_delivery(result: ProcessResult, target: str | None, *, kept: bool) -> None:
    """What of a function with an optional output came where it was not expected, or did not come.

    Raises:
        InputError: an output without a place, or nothing for OUT from an accelerator that now ends.
    """
    name = result.accelerator
    if target is None and result.data is not None:
        lost = f"{name} gave {len(result.data)} bytes, and no OUT was named"
        raise InputError(f"{lost}: they are gone; name OUT next time")
    if target is not None and not result.destination:
        nothing = f"{name} gave nothing for {target}"
        if not kept:
            raise InputError(
                f"{nothing}, and what it keeps for the next call ends with this command: start it first "
                f"(acceleratorapi start {name})"
            )
        output.say(f"{nothing} yet")


def start(
    accelerator: Annotated[str, typer.Argument(metavar="FUNCTION", help="The function to run.")],
    name: Annotated[str | None, typer.Option(help="What to call it; default: the function's name.")] = None,
    datafile: Datafile = None,
    values: Values = None,
    provider: Provider = None,
    instance_id: Annotated[str | None, typer.Option(help="Use this instance; a stopped one is started again.")] = None,
    instance_ip: Address = None,
    conf: Conf = None,
    node_opens_urls: NodeOpensUrls = None,
    as_json: AsJson = False,
) -> None:
    """Start an accelerator that stays until "acceleratorapi stop"."""
    from acceleratorAPI.client.accelerator import Accelerator
    from acceleratorAPI.protocol.stop import StopMode

    parameters = parse_parameters(values)
    name = name or accelerator
    remembered.check_free(name)
    held = Accelerator(
        accelerator,
        config_file=conf,
        provider=provider,
        instance_id=instance_id,
        instance_ip=instance_ip,
        node_opens_urls=node_opens_urls,
    )
    result = held.start(datafile, stop_mode=StopMode.KEEP, **parameters)
    setting = held.settings.get
    read = [os.path.abspath(os.path.expanduser(path)) for path in held.settings.files]
    try:
        remembered.remember(
            remembered.Remembered(
                name,
                accelerator,
                setting("csp", "provider"),
                result.instance_id,
                result.url_instance,
                read[0] if read else None,
            )
        )
    except BaseException:
        # Nobody would know of it.
        if not setting("csp", "instance_id") and not setting("csp", "instance_ip"):
            held.stop(StopMode.TERM)
        raise
    if as_json:
        output.document({"name": name, **result.as_dict()})
    else:
        output.say(str(result))
        name = shlex.quote(name)
        output.say(f"use it:  acceleratorapi process {name} IN OUT    end it:  acceleratorapi stop {name}")


def stop(
    name: Annotated[str, typer.Argument(help="The name it was started under, or an instance's id.")],
    stop_mode: Annotated[str, typer.Option(help="TERM deletes it, STOP keeps its state, KEEP leaves it running.")] = (
        "TERM"
    ),
    as_json: AsJson = False,
) -> None:
    """Stop an accelerator started before, or any instance."""
    from acceleratorAPI.protocol.stop import StopMode

    known = remembered.load()
    if name not in known and (ended := _end_instance(name, stop_mode)) is not None:
        if as_json:
            output.document({"name": name, "message": ended})
        else:
            output.say(ended)
            _say_how_to_go_on(StopMode.parse(stop_mode), name)
        return
    entry = remembered.find(name)
    try:
        result = _attach(entry).stop(stop_mode)
    except InstanceNotFoundError as error:
        remembered.forget(name)
        raise InstanceNotFoundError(f"{error}; {name!r} is forgotten") from error
    remembered.forget(name)
    if as_json:
        output.document({"name": name, **result.as_dict()})
    else:
        output.say(result.message)
        _say_how_to_go_on(result.stop_mode, result.instance_id, entry.accelerator)


def _say_how_to_go_on(stop_mode: StopMode | None, instance_id: str | None, function: str = "FUNCTION") -> None:
    """What to do with an instance that was stopped, not removed."""
    from acceleratorAPI.protocol.stop import StopMode

    if stop_mode is StopMode.STOP and instance_id is not None:
        output.say(f"use it again:  acceleratorapi start {function} --instance-id {instance_id}")


def _end_instance(instance_id: str, stop_mode: str) -> str | None:
    """End an instance that has no name here; what became of it, ``None`` when there is none of that id."""
    from acceleratorAPI.client.instance import end_instance
    from acceleratorAPI.protocol.stop import StopMode

    try:
        return end_instance(instance_id, StopMode.parse(stop_mode))
    except InstanceNotFoundError:
        return None


def parse_parameters(values: list[str] | None) -> dict[str, Any]:
    """``KEY=VALUE`` pairs as a dict; a value that is JSON (a number, true, a list) is taken as such.

    Raises:
        ParameterError: a pair has no ``=`` or no key, or a key comes twice or cannot be a parameter.
    """
    parameters: dict[str, Any] = {}
    for pair in values or []:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise ParameterError(f"-p {pair!r}: write it as KEY=VALUE")
        if key in parameters:
            raise ParameterError(f"-p {pair!r}: {key!r} is given twice")
        try:
            parameters[key] = json.loads(text)
        except json.JSONDecodeError:
            parameters[key] = text
    return keywords(parameters, "-p")


def _attach(entry: remembered.Remembered, node_opens_urls: bool | None = None) -> Accelerator:
    """The accelerator of an earlier ``start``, on the same instance and configuration."""
    from acceleratorAPI.client.accelerator import Accelerator
    from acceleratorAPI.protocol.stop import StopMode

    accelerator = Accelerator(
        entry.accelerator,
        config_file=entry.config_file,
        provider=entry.provider,
        instance_id=entry.instance_id,
        instance_ip=None if entry.instance_id else entry.instance_ip,
        node_opens_urls=node_opens_urls,
    )
    accelerator.start(stop_mode=StopMode.KEEP)
    return accelerator


@contextlib.contextmanager
def _ready(
    name: str,
    entry: remembered.Remembered | None,
    datafile: str | None,
    provider: str | None,
    instance_ip: str | None,
    conf: str | None,
    node_opens_urls: bool | None,
    start_with: dict[str, Any],
) -> Iterator[Accelerator]:
    """A started accelerator: the one remembered as ``name``, ``entry``, else one just for this command."""
    from acceleratorAPI.client.accelerator import Accelerator
    from acceleratorAPI.functions import registry

    if entry is not None:
        if datafile is not None or start_with:
            asked = "--config-file" if datafile is not None else f"-p {next(iter(start_with))}"
            raise StateError(f"{name!r} is configured already: stop it, and give {asked} to the next start")
        yield _attach(entry, node_opens_urls)
        return
    with Accelerator(
        name, config_file=conf, provider=provider, instance_ip=instance_ip, node_opens_urls=node_opens_urls
    ) as accelerator:
        try:
            accelerator.start(datafile, **start_with)
        except FunctionUnknownError:
            names = {*registry.installed(), *remembered.load()}
            raise FunctionUnknownError(
                f"{name!r} is neither a function nor a started accelerator; {nearest(name, names)}"
            ) from None
        yield accelerator


@contextlib.contextmanager
def _interrupted(target: str | None) -> Iterator[None]:
    """Say what Ctrl-C has left."""
    try:
        yield
    except KeyboardInterrupt:
        # What standard output has taken cannot be taken back.
        output.say("interrupted" if target == "-" else "interrupted; nothing was written")
        raise


def _split(
    name: str, entry: remembered.Remembered | None, parameters: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters that belong to ``start`` and those of ``process``, as far as the function is known here."""
    from acceleratorAPI.functions import registry

    try:
        kind = registry.load(entry.accelerator if entry is not None else name)
    except FunctionUnknownError:
        return {}, parameters
    of_start = set(kind.configure_parameters.model_fields) - set(kind.process_parameters.model_fields)
    start_with = {key: value for key, value in parameters.items() if key in of_start}
    return start_with, {key: value for key, value in parameters.items() if key not in of_start}


def _standard(stream: Any, shown: str) -> Any:
    """The binary file under ``stream``, which Python leaves out when the caller had closed it.

    Unbuffered: what cannot be written is an error of this job, not of the interpreter's end.

    Raises:
        InputError: it is closed.
    """
    if stream is None:
        raise InputError(f"{shown} = '-': this standard stream is closed; name a file")
    # With PYTHONUNBUFFERED the buffer itself is the raw file.
    return getattr(stream.buffer, "raw", stream.buffer)
