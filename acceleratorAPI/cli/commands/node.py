"""``acceleratorapi node``: serve a node on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from acceleratorAPI.cli.commands import token

app = typer.Typer(help="Serve accelerated functions over the REST API.", no_args_is_help=True)
app.add_typer(token.app, name="token")

EXAMPLES = """
Examples:

  acceleratorapi node serve --accelerator cast_gzip

  acceleratorapi node serve --port 8080 --state /var/lib/acceleratorapi --slots 2
"""


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
    epilog=EXAMPLES,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def serve(context: typer.Context) -> None:
    """Serve a node until SIGTERM or Ctrl-C. All options: acceleratorapi node serve --help."""
    from acceleratorAPI.node.__main__ import main

    sys.exit(main(context.args))
