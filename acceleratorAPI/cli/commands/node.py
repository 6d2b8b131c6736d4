"""``acceleratorapi node``: serve a node on this machine."""

from __future__ import annotations

import sys

import typer

app = typer.Typer(help="Serve accelerated functions over the REST API.", no_args_is_help=True)

EXAMPLES = """
Examples:

  acceleratorapi node serve --accelerator cast_gzip

  acceleratorapi node serve --port 8080 --state /var/lib/acceleratorapi --slots 2
"""


@app.command(
    epilog=EXAMPLES,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def serve(context: typer.Context) -> None:
    """Serve a node until SIGTERM or Ctrl-C. All options: acceleratorapi node serve --help."""
    from acceleratorAPI.node.__main__ import main

    sys.exit(main(context.args))
