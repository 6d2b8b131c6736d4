"""``acceleratorapi instances``, ``reap``, ``connect`` and ``logs``: the machines themselves."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from acceleratorAPI.cli import output
from acceleratorAPI.cli.output import AsJson

if TYPE_CHECKING:
    from acceleratorAPI.providers.base import Provider as ProviderObject

EXAMPLES = """
Examples:

  acceleratorapi instances

  acceleratorapi instances --provider AWS           every region, with age, lease and cost so far

  acceleratorapi instances --provider AWS --json
"""

REAP_EXAMPLES = """
Examples:

  acceleratorapi reap --provider AWS --dry-run      what would be ended

  acceleratorapi reap --provider AWS
"""

CONNECT_EXAMPLES = """
Examples:

  acceleratorapi connect i-0123456789abcdef0 --provider AWS

  $(acceleratorapi connect i-0123456789abcdef0 --provider AWS)      open the shell
"""

LOGS_EXAMPLES = """
Examples:

  acceleratorapi logs i-0123456789abcdef0 --provider AWS

  acceleratorapi logs local-1f0c2a9e
"""

Provider = Annotated[str | None, typer.Option(help="Ask this provider; default: the configured one.")]
Conf = Annotated[str | None, typer.Option(metavar="FILE", help="Read this accelerator.conf.")]
InstanceId = Annotated[str, typer.Argument(metavar="INSTANCE", help="Its id.")]


def instances(provider: Provider = None, conf: Conf = None, as_json: AsJson = False) -> None:
    """List the instances of a provider, running and stopped, in every region."""
    found = _provider(provider, conf).instances()
    if as_json:
        output.document([entry.as_dict() for entry in found])
        return
    more = list(dict.fromkeys(name for entry in found for name in entry.details))
    output.table(
        ["id", "provider", "status", "stop mode", "accelerator", "address", "created", *more],
        [
            (e.id, e.provider, e.status, e.stop_mode.name, e.accelerator, e.url, e.created,
             *(e.details.get(name, "") for name in more))
            for e in found
        ],
        empty="no instance",
    )  # fmt: skip


def reap(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    provider: Provider = None,
    conf: Conf = None,
    as_json: AsJson = False,
) -> None:
    """End and undo what processes that are gone have left behind, in every region."""
    done = _provider(provider, conf).reap(dry_run=dry_run)
    if as_json:
        output.document(done)
        return
    for line in done:
        typer.echo(line)
    if not done:
        output.say("nothing was left behind")


def connect(instance_id: InstanceId, provider: Provider = None, conf: Conf = None) -> None:
    """Print the command that opens a shell on an instance."""
    made_by = _provider(provider, conf)
    typer.echo(made_by.connection(made_by.find(instance_id=instance_id)))


def logs(instance_id: InstanceId, provider: Provider = None, conf: Conf = None) -> None:
    """Print what an instance wrote while it booted and set itself up, and what its node writes."""
    made_by = _provider(provider, conf)
    text = made_by.log(made_by.find(instance_id=instance_id))
    sys.stdout.write(text)
    if not text:
        output.say("nothing so far")


def _provider(name: str | None, conf: str | None) -> ProviderObject:
    from acceleratorAPI.config import Configuration
    from acceleratorAPI.providers.registry import get_provider

    configuration = Configuration.load(conf, {("csp", "provider"): name})
    return get_provider(configuration.get("csp", "provider"), configuration)
