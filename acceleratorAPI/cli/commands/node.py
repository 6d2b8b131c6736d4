"""``acceleratorapi node``: serve a node on this machine, or look at nodes that run."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acceleratorAPI.cli import output, remembered
from acceleratorAPI.cli.commands import token
from acceleratorAPI.cli.output import AsJson
from acceleratorAPI.errors import InputError

if TYPE_CHECKING:
    from acceleratorAPI.client.instance import Place
    from acceleratorAPI.protocol.status import NodeStatus

app = typer.Typer(help="Serve accelerated functions, or look at nodes that do.", no_args_is_help=True)
app.add_typer(token.app, name="token")

SERVE_EXAMPLES = """
Examples:

  acceleratorapi node serve --accelerator cast_gzip

  acceleratorapi node serve --port 8080 --state /var/lib/acceleratorapi --slots 2
"""


STATUS_EXAMPLES = """
Examples:

  acceleratorapi node status                         every LOCAL instance that runs, and a node served here

  acceleratorapi node status --state /srv/node       the node that was started with this state folder

  acceleratorapi node status replace --watch         the node of a started accelerator, again and again

  ACCELERATOR_NODE_TOKEN=$TOKEN acceleratorapi node status --url https://node.example.org --json
"""

_EVERY_S = 1.0
CERTIFICATE_EXAMPLES = """
Examples:

  acceleratorapi node certificate /etc/acceleratorapi --name node.example.org --name 192.0.2.7
"""


@app.command(epilog=CERTIFICATE_EXAMPLES)
def certificate(
    folder: Annotated[Path, typer.Argument(help="Where tls-cert.pem and tls-key.pem are to be; it must exist.")],
    name: Annotated[list[str] | None, typer.Option(help="A host name or address of the node; may be repeated.")] = None,
) -> None:
    """Make a certificate and key for a node, and print the fingerprint its clients are to be given."""
    from acceleratorAPI.providers.certificates import make_certificate

    made = make_certificate(name or ())
    made.write(folder)
    print(made.fingerprint)  # noqa: T201 - the answer itself


@app.command(
    epilog=SERVE_EXAMPLES,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def serve(context: typer.Context) -> None:
    """Serve a node until SIGTERM or Ctrl-C. All options: acceleratorapi node serve --help."""
    from acceleratorAPI.node.__main__ import main

    sys.exit(main(context.args))


@app.command(epilog=STATUS_EXAMPLES)
def status(
    name: Annotated[str | None, typer.Argument(help="A started accelerator; its node is shown.")] = None,
    url: Annotated[
        str | None,
        typer.Option(help="The node at this address; \\[general] node_token opens it."),
    ] = None,
    instance: Annotated[str | None, typer.Option(metavar="ID", help="The node of this instance.")] = None,
    state: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The node started with this --state on this machine.")
    ] = None,
    provider: Annotated[str | None, typer.Option(help="Of the instances; default: the configured one.")] = None,
    conf: Annotated[str | None, typer.Option(metavar="FILE", help="Read this accelerator.conf.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what nodes do: slots, queue, jobs, rates, disk. Without a name: all that run."""
    places = _places(name, url, instance, state, provider, conf)
    named = bool(name or url or instance or state)
    if not watch:
        found = [place.node.status() for place in places]
        if as_json:
            output.document(_documents(places, found, named))
        else:
            typer.echo(_text(places, found))
    elif as_json:
        for found in _looks(places):
            # One line a look, for programs that read along.
            typer.echo(json.dumps(_documents(places, found, named)))
    else:
        _watch(places)


def _places(
    name: str | None,
    url: str | None,
    instance: str | None,
    state: Path | None,
    provider: str | None,
    conf: str | None,
) -> list[Place]:
    """The nodes to look at."""
    from acceleratorAPI.client.nodes import find_nodes, served_node
    from acceleratorAPI.config import Configuration
    from acceleratorAPI.node.settings import default_state

    if sum(value is not None for value in (name, url, instance, state)) > 1:
        raise InputError("NAME, --url, --instance and --state each name a node: give one of them")
    if state is not None:
        return [served_node(state, Configuration.load(conf, {}))]
    if name is not None:
        entry = remembered.find(name)
        provider, instance, conf = entry.provider, entry.instance_id, entry.config_file
        url = None if instance else entry.instance_ip
    configuration = Configuration.load(conf, {("csp", "provider"): provider})
    return find_nodes(configuration, served=default_state(), instance_id=instance, address=url)


def _looks(places: list[Place]) -> Iterator[list[NodeStatus]]:
    """All statuses, again and again."""
    while True:
        yield [place.node.status() for place in places]
        time.sleep(_EVERY_S)


def _documents(places: list[Place], found: list[NodeStatus], named: bool) -> Any:
    documents = [
        {"instance": place.instance and place.instance.id, "url": place.node.url, **status.model_dump(mode="json")}
        for place, status in zip(places, found, strict=True)
    ]
    return documents[0] if named else documents


def _text(places: list[Place], found: list[NodeStatus]) -> str:
    from acceleratorAPI.cli import status_view

    def where(place: Place) -> str:
        return f"{place.instance.id} at {place.node.url}" if place.instance else place.node.url

    pairs = zip(places, found, strict=True)
    return "\n\n".join(status_view.text(status, where(place)) for place, status in pairs)


def _watch(places: list[Place]) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        for found in _looks(places):
            typer.echo(_text(places, found) + "\n")
        return
    with Live(console=console, auto_refresh=False) as view:
        for found in _looks(places):
            view.update(Text(_text(places, found), no_wrap=True, overflow="ellipsis"), refresh=True)
