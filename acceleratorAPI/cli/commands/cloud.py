"""``acceleratorapi cloud``: clouds on this machine, to try things without an account."""

from __future__ import annotations

import contextlib
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from acceleratorAPI.cli import output

app = typer.Typer(no_args_is_help=True, help="Clouds on this machine, to try things without an account.")

EXAMPLES = """
Examples:

  acceleratorapi cloud emulate aws

  acceleratorapi cloud emulate aws --port 5000 --time-scale 60

  acceleratorapi cloud emulate aws --reach 8080     its nodes reach a store at http://127.0.0.1:8080
"""


class _Cloud(StrEnum):
    AWS = "aws"


@app.command(epilog=EXAMPLES)
def emulate(
    cloud: Annotated[_Cloud, typer.Argument(help="Which one.")],
    port: Annotated[int, typer.Option(help="Of its endpoint; 0 takes a free one.")] = 0,
    time_scale: Annotated[
        float, typer.Option(min=0.001, help="How much faster than real time the clocks of its instances run.")
    ] = 1.0,
    wheels: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Wheels that its instances may install, as their package index.")
    ] = None,
    reach: Annotated[
        list[int] | None,
        typer.Option(metavar="PORT", help="A port of 127.0.0.1 that its instances reach too, a store's say."),
    ] = None,
) -> None:
    """Run an emulated cloud whose instances run their user data, until Ctrl-C, which ends everything in it.

    Prints the environment variables that lead a client to it.
    """
    from acceleratorAPI.testing.aws import AwsCloud

    made = AwsCloud(port=port, time_scale=time_scale, wheels=wheels, reach=reach or ())
    with contextlib.suppress(KeyboardInterrupt), made as emulated:
        for name, value in emulated.environment().items():
            typer.echo(f"export {name}={shlex.quote(value)}")
        output.say(f"emulated {cloud.value.upper()} at {emulated.endpoint}; Ctrl-C ends it and all its instances")
        emulated.wait()
