"""``acceleratorapi config``: which settings are in force, and where each came from."""

from __future__ import annotations

from typing import Annotated

import typer

from acceleratorAPI.cli import output
from acceleratorAPI.cli.output import AsJson

app = typer.Typer(help="Show the settings in force, or an example file.", no_args_is_help=True)

SHOW_EXAMPLES = """
Examples:

  acceleratorapi config show

  acceleratorapi config show --conf ./accelerator.conf --json
"""


@app.command(epilog=SHOW_EXAMPLES)
def show(
    conf: Annotated[str | None, typer.Option(metavar="FILE", help="Read this accelerator.conf.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print each setting, its value (secrets masked) and where it came from."""
    from acceleratorAPI.config import Configuration

    rows = Configuration.load(conf).rows()
    if as_json:
        output.document(
            [{"section": row.section, "key": row.key, "value": row.value, "origin": row.origin} for row in rows]
        )
    else:
        output.table(
            ["setting", "value", "from"],
            [(f"[{row.section}] {row.key}", row.value, row.origin) for row in rows],
            empty="there is no setting",
        )


@app.command()
def example() -> None:
    """Print a documented accelerator.conf to start from."""
    from importlib.resources import files

    text = files("acceleratorAPI").joinpath("accelerator.conf.example").read_text(encoding="utf-8")
    typer.echo(text, nl=False)
