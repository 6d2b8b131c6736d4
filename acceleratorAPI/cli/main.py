"""The command line's frame: the command table, the exit codes, one line for an error."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from acceleratorAPI.cli import output
from acceleratorAPI.cli.commands import (
    accelerator,
    aws,
    cloud,
    config,
    functions,
    instances,
    metering,
    node,
    store,
)
from acceleratorAPI.errors import AcceleratorError

EPILOG = """
Exit codes: 0 done · 1 the job failed · 2 wrong use, input or setting · 3 instance or node trouble ·
4 the token was refused · 130 interrupted.
"""

app = typer.Typer(
    name="acceleratorapi",
    help="Run accelerated functions on big files: on this machine, or on an instance of yours.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=accelerator.PROCESS_EXAMPLES)(accelerator.process)
app.command(epilog=accelerator.START_EXAMPLES)(accelerator.start)
app.command(epilog=accelerator.STOP_EXAMPLES)(accelerator.stop)
app.command(name="instances", epilog=instances.EXAMPLES)(instances.instances)
app.command(epilog=instances.REAP_EXAMPLES)(instances.reap)
app.command(epilog=instances.CONNECT_EXAMPLES)(instances.connect)
app.command(epilog=instances.LOGS_EXAMPLES)(instances.logs)
app.command(epilog=aws.IMAGE_EXAMPLES)(aws.image)
app.command(name="metering", epilog=metering.EXAMPLES)(metering.metering)
app.add_typer(aws.app, name="aws")
app.add_typer(functions.app, name="functions")
app.add_typer(config.app, name="config")
app.add_typer(node.app, name="node")
app.add_typer(cloud.app, name="cloud")
app.add_typer(store.app, name="store")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("acceleratorAPI"))  # noqa: T201 - the answer itself
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Run accelerated functions on big files: on this machine, or on an instance of yours."""


class _Steps(logging.Handler):
    """What a provider says while it makes a machine."""

    def emit(self, record: logging.LogRecord) -> None:
        output.say(record.getMessage())


def run() -> None:
    """Run the command line and leave with its exit code; Typer makes Ctrl-C a 130."""
    if sys.stderr is None:  # Python has none when the caller closed it (2>&-).
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the whole run
    output.steps.setLevel(logging.INFO)
    output.steps.addHandler(_Steps())
    try:
        app()
    except AcceleratorError as error:
        output.fail(error)
        sys.exit(output.exit_code(error))
