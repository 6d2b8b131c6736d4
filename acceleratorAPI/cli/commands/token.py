"""``acceleratorapi node token``: who may do what on a node of this machine."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acceleratorAPI.cli import output
from acceleratorAPI.cli.output import AsJson
from acceleratorAPI.errors import InputError, nearest

if TYPE_CHECKING:
    from acceleratorAPI.node.tokens import TokenFile

app = typer.Typer(help="Make, list and revoke the tokens of a node of this machine.", no_args_is_help=True)

NEW_EXAMPLES = """
Examples:

  acceleratorapi node token new --scopes read,process --expires 7d --name nightly

  acceleratorapi node token new --scopes admin --state /var/lib/acceleratorapi
"""
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

State = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The node's state folder; default: that of a node given none.")
]


@app.command(epilog=NEW_EXAMPLES)
def new(
    scopes: Annotated[str, typer.Option(help="Of configure, process, read, stop, admin; with commas.")],
    expires: Annotated[str | None, typer.Option(metavar="AGE", help="30m, 12h, 7d, ...; default: never.")] = None,
    name: Annotated[str, typer.Option(help="A remark, for the list.")] = "",
    state: State = None,
) -> None:
    """Make a token and print it, this once. A node that runs takes it from now on."""
    from acceleratorAPI.protocol.tokens import SCOPES, new_token

    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    for scope in wanted:
        if scope not in SCOPES:
            raise InputError(f"--scopes: {scope!r} is none; {nearest(scope, SCOPES)}")
    if not wanted:
        raise InputError(f"--scopes {scopes!r}: name at least one of {', '.join(SCOPES)}")
    asked = tuple(scope for scope in SCOPES if scope in wanted)
    token, record = new_token(asked, name=name, expires=_moment(expires))
    _file(state).add(record)
    output.say(f"token {record.id}: {', '.join(asked)}")
    print(token)  # noqa: T201 - the answer itself


@app.command(name="list")
def list_tokens(state: State = None, as_json: AsJson = False) -> None:
    """List the tokens, without what they are."""
    records = _file(state).read()
    if as_json:
        output.document([record.model_dump(mode="json", exclude={"digest"}) for record in records])
        return
    now = datetime.now(UTC)
    rows = [
        (
            record.id,
            ",".join(record.scopes),
            record.name,
            f"{record.created:%Y-%m-%d %H:%M}",
            f"{record.expires:%Y-%m-%d %H:%M}" if record.expires else "never",
            "revoked" if record.revoked else "expired" if record.expires and record.expires <= now else "in force",
        )
        for record in records
    ]
    output.table(["id", "scopes", "name", "created (UTC)", "expires (UTC)", "state"], rows, empty="no token")


@app.command()
def revoke(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="As list shows it.")], state: State = None
) -> None:
    """Let a token be worth nothing from now on; what it is used for at this moment ends."""
    record = _file(state).revoke(identifier)
    output.say(f"token {record.id} is revoked")


def _file(state: Path | None) -> TokenFile:
    from acceleratorAPI.node.settings import default_state
    from acceleratorAPI.node.tokens import TokenFile

    return TokenFile(state or default_state())


def _moment(age: str | None) -> datetime | None:
    if age is None:
        return None
    match = re.fullmatch(r"(\d{1,6})([smhdw])", age.strip())
    if match is None:
        raise InputError(f"--expires {age!r}: use a number with s, m, h, d or w, like 7d")
    return datetime.now(UTC) + timedelta(seconds=int(match[1]) * _UNITS_S[match[2]])
