"""``acceleratorapi functions``: what is installed, what one function takes, and a package for a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from acceleratorAPI.cli import output
from acceleratorAPI.cli.output import AsJson

EXAMPLES = """
Examples:

  acceleratorapi functions                     what is installed

  acceleratorapi functions cast_gzip           its parameters and limits

  acceleratorapi functions new my_function     a package of your own
"""

SHOW_EXAMPLES = """
Examples:

  acceleratorapi functions show cast_gzip --json

  acceleratorapi functions cast_gzip           the same, shorter
"""

NEW_EXAMPLES = """
Examples:

  acceleratorapi functions new my_function     makes ./my_function

  acceleratorapi functions new my_function --into ~/code
"""


class _Functions(TyperGroup):
    """A word that is no command is a function to show."""

    @override
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = not args or args[0] in self.commands or args[0].startswith("-")
        return super().resolve_command(ctx, args if known else ["show", *args])


app = typer.Typer(
    cls=_Functions,
    help="List the installed functions; describe one; make a package for a new one.",
    epilog=EXAMPLES,
    invoke_without_command=True,
    subcommand_metavar="[NAME | COMMAND [ARGS]...]",
)


@app.callback()
def functions(context: typer.Context, as_json: AsJson = False) -> None:
    """List the installed functions; describe one; make a package for a new one."""
    if context.invoked_subcommand is not None:
        context.obj = as_json
        return
    from acceleratorAPI.functions import registry

    entries = registry.catalogue()
    if as_json:
        output.document([entry.model_dump() for entry in entries])
    else:
        output.table(
            ["function", "version", "what it does"],
            [(entry.name, entry.version, entry.title) for entry in entries],
            empty="no function is installed",
        )


@app.command(epilog=SHOW_EXAMPLES)
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The function.")],
    as_json: AsJson = False,
) -> None:
    """Describe one function: its parameters and limits."""
    from acceleratorAPI.functions import registry

    registry.load(name)  # says which name is nearest when there is none
    entry = next(entry for entry in registry.catalogue() if entry.name == name)
    if as_json or context.obj:
        output.document(entry.model_dump())
        return
    output.facts(
        {
            "function": f"{entry.name} {entry.version}",
            "title": entry.title,
            "description": entry.description,
            "datafile": " ".join(part for part in (entry.datafile, entry.datafile_format) if part),
            "input": entry.input,
            "output": entry.output,
        }
    )
    for call, schema in (("start", entry.configure_schema), ("process", entry.process_schema)):
        for parameter, about in schema.get("properties", {}).items():
            output.facts({f"{call} -p {parameter}": _describe(about)})
    for limit in entry.limits:
        output.facts({"limit": limit})


@app.command(epilog=NEW_EXAMPLES)
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The new function: lower-case letters, digits and single '_'.")],
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the package's folder NAME is made.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Make a small, tested package that adds a function and runs at once."""
    from acceleratorAPI.cli import scaffold
    from acceleratorAPI.errors import ParameterError
    from acceleratorAPI.functions import registry

    if name in registry.installed():
        raise ParameterError(f"function name {name!r}: a function of that name is installed; choose another")
    folder = scaffold.create(name, into)
    if as_json or context.obj:
        output.document({"function": name, "folder": str(folder)})
    else:
        output.say(f"made {folder}; its README.md says how to install, test and run it")


def _describe(about: dict[str, Any]) -> str:
    """One line on a parameter from its JSON schema."""
    kind = about.get("type") or "/".join(option.get("type", "?") for option in about.get("anyOf", []))
    bounds = [
        f"{word} {about[key]}"
        for key, word in (("minimum", "from"), ("maximum", "to"), ("default", "default"))
        if about.get(key) is not None
    ]
    return f"{kind} {' '.join(bounds)}: {about.get('description', '')}".replace("  ", " ")
