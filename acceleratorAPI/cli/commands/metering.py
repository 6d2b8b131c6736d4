"""``acceleratorapi metering``: what was used, from the store or from the nodes' own records."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from acceleratorAPI.cli import output
from acceleratorAPI.cli.output import AsJson
from acceleratorAPI.errors import InputError

EXAMPLES = """
Examples:

  acceleratorapi metering                           the last 30 days, day by day

  acceleratorapi metering --by function --from 2026-11-01 --json

  acceleratorapi metering --node /var/lib/acceleratorapi
"""

_COLUMNS = ("jobs", "failed", "bytes_in", "bytes_out", "engine_us")


class By(StrEnum):
    """What the sums are by."""

    DAY = "day"
    FUNCTION = "function"
    APPLICATION = "application"
    NODE = "node"


# Our own words: an option chooses one, and never becomes part of a statement.
_KEYS = {By.DAY: "substr(ended, 1, 10)", By.FUNCTION: "accelerator", By.APPLICATION: "application",
         By.NODE: "COALESCE((SELECT node FROM identity), '')"}  # fmt: skip


def metering(
    by: Annotated[By, typer.Option(help="What the sums are by.")] = By.DAY,
    first: Annotated[str | None, typer.Option("--from", metavar="DAY", help="First day; default: 30 days ago.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DAY", help="Last day; default: today, UTC.")] = None,
    node: Annotated[Path | None, typer.Option(metavar="DIR", help="A node's state folder: its own records.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what was used: as the configured store counts it, else by the records of this machine's nodes."""
    from acceleratorAPI.client.reports import Reports
    from acceleratorAPI.client.store import StoreClient
    from acceleratorAPI.config import Configuration

    end = _day("--to", last) or datetime.now(UTC).date()
    start = _day("--from", first) or end - timedelta(days=29)
    if start > end:
        raise InputError(f"--from {start} comes after --to {end}")
    settings = Configuration.load()
    store = StoreClient.of(settings) if node is None else None
    if store is not None:
        if (reports := Reports.of(settings)) is not None:
            reports.bring(store)
        rows = store.get(f"/api/v1/usage?by={by.value}&from={start}&to={end}")["rows"]
    else:
        rows = _own(_databases(settings) if node is None else [node / "node.db"], by, start, end)
    if as_json:
        output.document(rows)
        return
    cells = [[row.get("name") or row["key"] or "-", *(row[name] for name in _COLUMNS)] for row in rows]
    output.table((by.value, *_COLUMNS), cells, empty=f"nothing was used from {start} to {end}")


def _day(option: str, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{option} {text!r}: use a day like 2026-11-25") from None


def _databases(settings: Any) -> list[Path]:
    """Those of this user's LOCAL instances, also of ended ones whose usage waits, and of a node without --state."""
    from acceleratorAPI.config import state_folder

    folder = state_folder(settings)
    found = (folder / "node" / "node.db", *sorted(folder.glob("instances/*/node.db")), *folder.glob("unsent/*/node.db"))
    return [path for path in found if path.exists()]


def _own(paths: list[Path], by: By, start: date, end: date) -> list[dict[str, Any]]:
    """The sums of some nodes' records, in the store's order: days as they come, else the largest first."""
    sums: dict[str, list[int]] = {}
    statement = (
        f"SELECT {_KEYS[by]}, COUNT(*), SUM(state != 'succeeded'), SUM(bytes_in), SUM(bytes_out), SUM(engine_us)"  # noqa: S608
        " FROM usage WHERE ended >= ? AND ended < ? GROUP BY 1"
    )
    for path in paths:
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as database:
                found = database.execute(statement, (str(start), str(end + timedelta(days=1)))).fetchall()
        except sqlite3.Error as error:
            raise InputError(f"{str(path)!r} holds no records of a node: {error}") from None
        for key, *amounts in found:
            total = sums.setdefault(str(key), [0] * len(_COLUMNS))
            sums[str(key)] = [old + new for old, new in zip(total, amounts, strict=True)]
    rows = [{"key": key, "name": key, **dict(zip(_COLUMNS, sums[key], strict=True))} for key in sorted(sums)]
    return rows if by is By.DAY else sorted(rows, key=lambda row: -row["bytes_in"])
