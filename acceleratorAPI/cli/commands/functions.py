"""``acceleratorapi functions``: what is installed, and what one function takes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from acceleratorAPI.cli import output
from acceleratorAPI.cli.output import AsJson

EXAMPLES = """
Examples:

  acceleratorapi functions                  what is installed

  acceleratorapi functions cast_gzip        its parameters and limits
"""


def functions(
    name: Annotated[str | None, typer.Argument(help="Describe this function only.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the installed functions, or describe one."""
    from acceleratorAPI.functions import registry

    if name is not None:
        registry.load(name)  # says which name is nearest when there is none
    entries = [entry for entry in registry.catalogue() if name in (None, entry.name)]
    if as_json:
        documents = [entry.model_dump() for entry in entries]
        output.document(documents if name is None else documents[0])
    elif name is None:
        output.table(
            ["function", "version", "what it does"],
            [(entry.name, entry.version, entry.title) for entry in entries],
            empty="no function is installed",
        )
    else:
        entry = entries[0]
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


def _describe(about: dict[str, Any]) -> str:
    """One line on a parameter from its JSON schema."""
    kind = about.get("type") or "/".join(option.get("type", "?") for option in about.get("anyOf", []))
    bounds = [
        f"{word} {about[key]}"
        for key, word in (("minimum", "from"), ("maximum", "to"), ("default", "default"))
        if about.get(key) is not None
    ]
    return f"{kind} {' '.join(bounds)}: {about.get('description', '')}".replace("  ", " ")
