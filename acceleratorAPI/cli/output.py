"""How the command line speaks: tables or JSON on stdout, everything else on stderr, exit codes from errors."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TextIO

import typer

from acceleratorAPI.errors import (
    AcceleratorError,
    AuthenticationError,
    ConfigurationError,
    FunctionUnknownError,
    InputError,
    InstanceError,
    NodeError,
    StateError,
)

# What a provider says while it makes a machine.
steps = logging.getLogger("acceleratorAPI.progress")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

# The first class that fits decides, so the narrow ones come first.
_EXIT_CODES: tuple[tuple[type[AcceleratorError], int], ...] = (
    (AuthenticationError, 4),
    (ConfigurationError, 2),
    (FunctionUnknownError, 2),
    (InputError, 2),
    (StateError, 2),
    (InstanceError, 3),
    (NodeError, 3),
    (AcceleratorError, 1),
)


def exit_code(error: AcceleratorError) -> int:
    """The exit code an error leads to."""
    return next(code for kind, code in _EXIT_CODES if isinstance(error, kind))


def say(message: str) -> None:
    """One line for the person, on stderr."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201


def no_steps() -> None:
    """Leave out what a provider says while it makes a machine."""
    steps.setLevel(logging.WARNING)


def answers(specific: Mapping[str, Any], stream: TextIO) -> None:
    """Print what a function answers besides its file: ``NAME  VALUE``, and tables as ``VALUE  NAME`` lines."""
    for name, value in specific.items():
        if isinstance(value, Mapping):
            lines = [f"{inner}  {key}" for key, inner in value.items()]
        elif isinstance(value, list):
            lines = ["  ".join(str(part) for part in row) if isinstance(row, list) else str(row) for row in value]
        elif name in ("Metering", "warning"):
            continue
        else:
            lines = [f"{name}  {value}"]
        for line in lines:
            print(line, file=stream)


def fail(error: AcceleratorError) -> None:
    """Say what went wrong: one line on stderr, and with ``--json`` an object on stdout."""
    say(f"error: {error}")
    if "--json" in sys.argv:
        document({"error": {"code": error.code, "message": str(error)}})


def document(value: Any, stream: TextIO | None = None) -> None:
    """Print a JSON document, on stdout unless told otherwise."""
    print(json.dumps(value, indent=2, default=str), file=stream)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows under headings, or the sentence ``empty`` when there is none."""
    from rich.console import Console
    from rich.table import Table

    cells = [[("" if cell is None else str(cell)) for cell in row] for row in rows]
    if not cells:
        say(empty)
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        # A pipe gets whole cells, one row a line, whatever the width.
        for row in [[column.upper() for column in columns], *cells]:
            print("\t".join(row))  # noqa: T201
        return
    view = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in cells:
        view.add_row(*row)
    console.print(view)


def facts(values: Mapping[str, object]) -> None:
    """Print names and values, one pair a line."""
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        print(f"{name:<{width}}  {value}")  # noqa: T201
