"""``acceleratorapi metering`` without a store: each option, over the records of several nodes."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from acceleratorAPI.node.database import Database

TODAY = datetime.now(UTC).date()
STATE = Path(".local/state/acceleratorapi")
# node, job, application, function, state, days ago, bytes in, bytes out, engine
JOBS = [
    ("n1", 1, "", "cast_gzip", "succeeded", 0, 1000, 10, 5),
    ("n1", 2, "", "cast_gzip", "failed", 0, 7, 0, 1),
    ("n1", 3, "key-a", "silex_sha3", "succeeded", 3, 2**40, 1, 2),
    ("n2", 1, "key-a", "cast_gzip", "succeeded", 3, 500, 5, 9),
    ("n2", 2, "key-b", "cast_gunzip", "cancelled", 29, 40, 4, 3),
    ("n2", 3, "key-b", "cast_gunzip", "succeeded", 30, 60, 6, 4),
    ("n3", 1, "key-b", "silex_sha3", "succeeded", 1, 70, 7, 8),
]
PLACES = {"n1": "node", "n2": "instances/local-1", "n3": "unsent/local-2-ab"}
SUMS = ("jobs", "failed", "bytes_in", "bytes_out", "engine_us")
Row = dict[str, Any]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's home with the records of three nodes."""
    home = tmp_path_factory.mktemp("home")
    for node, place in PLACES.items():
        path = home / STATE / place / "node.db"
        path.parent.mkdir(parents=True)
        Database(path).close()
        with closing(sqlite3.connect(path)) as database:
            database.execute("INSERT INTO identity VALUES (?, 'k')", (node,))
            for name, job, application, function, state, ago, read, written, engine in JOBS:
                if name == node:
                    when = f"{TODAY - timedelta(days=ago)}T23:59:59.999Z"
                    database.execute(
                        "INSERT INTO usage VALUES (?, '', ?, ?, ?, NULL, 1, ?, ?, 'cpu', ?, 9, ?, ?, NULL, NULL, '')",
                        (job, application, function, state, read, written, engine, when, when),
                    )
            database.commit()
    return home


def metering(home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATOR_", "XDG_"))}
    command = [sys.executable, "-m", "acceleratorAPI", "metering", *options]
    return subprocess.run(command, env=kept | {"HOME": str(home)}, capture_output=True, text=True, check=False)


def rows(home: Path, *options: str) -> list[Row]:
    done = metering(home, *options, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def wanted(key: Callable[[Any], str], first: int = 29, last: int = 0, nodes: str = "n1 n2 n3") -> list[Row]:
    """The same sums, counted here."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0] * 5)
    for job in JOBS:
        if job[0] in nodes.split() and last <= job[5] <= first:
            amounts = (1, job[4] != "succeeded", *job[6:])
            sums[key(job)] = [old + int(new) for old, new in zip(sums[key(job)], amounts, strict=True)]
    return [{"key": name, "name": name, **dict(zip(SUMS, total, strict=True))} for name, total in sums.items()]


def day_of(job: Any) -> str:
    return str(TODAY - timedelta(days=job[5]))


def test_by_day_the_last_thirty_in_their_order(home: Path) -> None:
    assert rows(home) == sorted(wanted(day_of), key=lambda row: row["key"])


@pytest.mark.parametrize(
    ("by", "key"), [("function", lambda job: job[3]), ("application", lambda job: job[2]), ("node", lambda job: job[0])]
)
def test_by_anything_else_the_largest_first(home: Path, by: str, key: Callable[[Any], str]) -> None:
    assert rows(home, "--by", by) == sorted(wanted(key), key=lambda row: -row["bytes_in"])


def test_only_some_days_both_counted(home: Path) -> None:
    days = {ago: str(TODAY - timedelta(days=ago)) for ago in (1, 3, 30)}
    found = rows(home, "--from", days[3], "--to", days[1])
    assert found == sorted(wanted(day_of, first=3, last=1), key=lambda row: row["key"])
    assert rows(home, "--from", days[30], "--to", days[30]) == wanted(day_of, first=30, last=30)
    # Thirty days that end with that one, as the store takes it.
    assert rows(home, "--to", days[1]) == sorted(wanted(day_of, first=30, last=1), key=lambda row: row["key"])


def test_one_nodes_records(home: Path) -> None:
    found = rows(home, "--node", str(home / STATE / PLACES["n2"]), "--by", "function")
    assert found == sorted(wanted(lambda job: job[3], nodes="n2"), key=lambda row: -row["bytes_in"])


def test_the_table_names_what_has_no_key(home: Path) -> None:
    done = metering(home, "--by", "application")
    assert done.returncode == 0
    assert "key-a" in done.stdout
    assert any(line.split()[:2] == ["-", "2"] for line in done.stdout.splitlines()), done.stdout


def test_nothing_used_is_said_so(home: Path, tmp_path: Path) -> None:
    assert "nothing was used" in metering(tmp_path).stdout + metering(tmp_path).stderr
    assert rows(tmp_path) == []
    assert rows(home, "--from", "2001-01-01", "--to", "2001-01-02") == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--from", "yesterday"], "--from 'yesterday'"),
        (["--to", "2026-02-30"], "--to '2026-02-30'"),
        (["--from", "2026-02-02", "--to", "2026-02-01"], "--from 2026-02-02 comes after --to 2026-02-01"),
        (["--node", "/nonexistent"], "holds no records"),
    ],
)
def test_a_wrong_option_is_one_line(home: Path, options: list[str], says: str) -> None:
    done = metering(home, *options)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
