"""``acceleratorapi store``: run a store, and publish functions in one."""

from __future__ import annotations

import json
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from acceleratorAPI.cli import output
from acceleratorAPI.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from acceleratorAPI.client.store import StoreClient

app = typer.Typer(help="Run a store: accounts, access keys, catalogue, metering.", no_args_is_help=True)

UP_EXAMPLES = """
Examples:

  acceleratorapi store up                       http://127.0.0.1:8420, SQLite in the user's state folder

  DATABASE_URL=postgres://store@db/store STORE_URL=https://store.example.org acceleratorapi store up --host 0.0.0.0
"""

State = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of keys and database; default: the user's own.")
]


@app.command(epilog=UP_EXAMPLES)
def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port.", min=1, max=65535)] = 8420,
    url: Annotated[str | None, typer.Option(help="How people and nodes reach it; default: STORE_URL, or this.")] = None,
    state: State = None,
    threads: Annotated[int, typer.Option(help="Requests at a time in a process.", min=1)] = 16,
    workers: Annotated[int, typer.Option(help="Processes; more than one share rate limits by STORE_CACHE.", min=1)] = 1,
) -> None:
    """Bring the database up to date and serve, until SIGTERM or Ctrl-C."""
    import os

    from acceleratorAPI.store import operate

    operate.prepare(state, url or os.environ.get("STORE_URL") or f"http://127.0.0.1:{port}")
    listener = operate.listen(host, port)
    operate.migrate()
    from django.conf import settings

    output.say(f"{settings.STORE_URL} (state in {settings.STORE_STATE}); new here? {settings.STORE_URL}/sign-up/")
    operate.serve(listener, threads, workers)


@app.command()
def operator(email: Annotated[str, typer.Argument(help="E-mail address of the account.")], state: State = None) -> None:
    """Make an operator's account, or set its password; the password is read from the terminal or standard input."""
    from acceleratorAPI.store import operate

    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    operate.prepare(state)
    operate.migrate()
    operate.make_operator(email, password)
    output.say(f"{email} may use /admin/")


@app.command()
def backup(target: Annotated[Path, typer.Argument(help="A .tar.gz to write.")], state: State = None) -> None:
    """Write database and keys into one file; the store may run meanwhile."""
    from acceleratorAPI.store import operate

    operate.prepare(state)
    operate.backup(target)
    output.say(f"{target}: keep it safe, it holds the store's keys")


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="What backup wrote.")],
    state: Annotated[Path, typer.Option(metavar="DIR", help="An empty or missing folder.")],
) -> None:
    """Bring a backup into an empty folder, and with DATABASE_URL into an empty database."""
    from acceleratorAPI.store import operate

    operate.restore(source, state)
    operate.prepare(state)
    operate.migrate()
    output.say(f"restored; start it with: acceleratorapi store up --state {state}")


@app.command(name="rotate-key")
def rotate_key(state: State = None) -> None:
    """Sign tokens with a new key from the next start on; tokens of the old one stay good until they end."""
    from acceleratorAPI.store import operate

    operate.prepare(state)
    from django.conf import settings

    from acceleratorAPI.store.keyring import Keyring

    Keyring.rotate(settings.STORE_STATE)
    output.say("a new key signs after the next start")


@app.command()
def rebuild(state: State = None) -> None:
    """Make the sums of usage by day anew from the events."""
    from acceleratorAPI.store import operate

    operate.prepare(state)
    operate.migrate()
    from acceleratorAPI.store import metering

    output.say(f"{metering.rebuild()} sums made anew")


PUBLISH_EXAMPLES = """
Examples:

  acceleratorapi store publish cast_gzip --price-gb 0.02

  acceleratorapi store publish --all

  acceleratorapi store publish my_function --docs README.md --requirements needs.json --draft
"""


@app.command(epilog=PUBLISH_EXAMPLES)
def publish(
    name: Annotated[str | None, typer.Argument(help="An installed function.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every installed function whose version is not published.")
    ] = False,
    price_job: Annotated[str, typer.Option(metavar="AMOUNT", help="Of a job.")] = "0",
    price_gb: Annotated[str, typer.Option(metavar="AMOUNT", help="Of 10^9 bytes in and out.")] = "0",
    docs: Annotated[Path | None, typer.Option(help="Its page, Markdown; default: the card's description.")] = None,
    requirements: Annotated[
        Path | None, typer.Option(help='JSON: {"AWS": {"eu-west-1": {"image", "instancetype", "fpgaimage"}}}.')
    ] = None,
    draft: Annotated[bool, typer.Option("--draft", help="Bring it, and show it to nobody yet.")] = False,
) -> None:
    r"""Bring installed functions into the catalogue of the store in \[accelize], with its access key."""
    from acceleratorAPI.functions import registry

    if (name is None) != everything:
        raise InputError("name a function, or say --all")
    store = _client()
    values = {
        "docs": "" if docs is None else _text(docs),
        "price_job_nano": _nano("--price-job", price_job),
        "price_gb_nano": _nano("--price-gb", price_gb),
        "requirements": {} if requirements is None else _json(requirements),
    }
    if name is not None:
        registry.load(name)
    there = {(each["name"], each["version"]) for each in store.get("/api/v1/functions")} if everything else set()
    for entry in registry.catalogue():
        if (entry.name, entry.version) in there:
            output.say(f"{entry.name} {entry.version}: published already")
        elif name in (None, entry.name):
            store.request("POST", "/api/v1/functions", {"card": entry.model_dump(mode="json"), **values})
            if not draft:
                _move(store, entry.name, entry.version, "published")
            output.say(f"{entry.name} {entry.version}: {'draft' if draft else 'published'}")


@app.command()
def withdraw(
    name: Annotated[str, typer.Argument(help="A function.")],
    version: Annotated[str, typer.Argument(help="Which version of it.")],
) -> None:
    """Take a version out of the catalogue; what was used stays counted."""
    _move(_client(), name, version, "withdrawn")
    output.say(f"{name} {version}: withdrawn")


def _move(store: StoreClient, name: str, version: str, state: str) -> None:
    store.request("POST", f"/api/v1/functions/{quote(name)}/versions/{quote(version)}/state", {"state": state})


def _client() -> StoreClient:
    """The store and key of the configuration.

    Raises:
        ConfigurationError: there is none.
    """
    from acceleratorAPI.client.store import StoreClient
    from acceleratorAPI.config import Configuration

    store = StoreClient.of(Configuration.load())
    if store is None:
        raise ConfigurationError("no store is configured: set [accelize] url, client_id and secret_id")
    return store


def _nano(option: str, text: str) -> int:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not (amount.is_finite() and 0 <= amount <= 10**6):
        raise InputError(f"{option} {text!r}: use an amount like 0.02")
    return int(amount * 10**9)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {str(path)!r}: {error}") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise InputError(f"{str(path)!r} is no JSON: {error}") from None
