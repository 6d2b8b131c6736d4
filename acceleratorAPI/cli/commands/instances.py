"""``acceleratorapi instances``: the instances that exist."""

from __future__ import annotations

from typing import Annotated

import typer

from acceleratorAPI.cli import output
from acceleratorAPI.cli.output import AsJson

EXAMPLES = """
Examples:

  acceleratorapi instances

  acceleratorapi instances --json
"""


def instances(
    provider: Annotated[str | None, typer.Option(help="Ask this provider; default: the configured one.")] = None,
    conf: Annotated[str | None, typer.Option(metavar="FILE", help="Read this accelerator.conf.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the instances of a provider, running and stopped."""
    from acceleratorAPI.client.instance import list_instances

    found = list_instances(config_file=conf, provider=provider)
    if as_json:
        output.document([entry.as_dict() for entry in found])
    else:
        output.table(
            ["id", "provider", "status", "accelerator", "address", "created"],
            [(e.id, e.provider, e.status, e.accelerator, e.url, e.created) for e in found],
            empty="no instance",
        )
