"""Which of what jobs used the store has. The rows are made by the database itself (see ``database``).

These statements run on a connection of their own, in the thread of the one who reports.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from acceleratorAPI.node.database import connect
from acceleratorAPI.protocol.usage import QuotaLeft, UsageData, UsageEvent, event_id

# As the event calls them.
_COLUMNS = (
    "job, application, ended, accelerator AS function, version AS function_version, state AS status,"
    " attempts AS attempt, bytes_in, bytes_out, engine, engine_us, wall_us"
)
_WAITING = "sent IS NULL AND application != ''"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What has not reached the store of one application."""

    jobs: int
    bytes: int


class Outbox:
    """The tables, on a connection that one thread at a time may use."""

    def __init__(self, path: Path) -> None:
        """Open a node's database.

        Raises:
            ConfigurationError: the file is not a database, or a newer version's.
        """
        self._connection = connect(path, any_thread=True)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def identity(self, new_key: str) -> tuple[str, str]:
        """The node's id and private key; made with ``new_key`` when it has none."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            found = self._connection.execute("SELECT node, key FROM identity").fetchone()
            if found is None:
                found = (str(uuid.uuid4()), new_key)
                self._connection.execute("INSERT INTO identity VALUES (?, ?)", found)
        return str(found[0]), str(found[1])

    def charge(self, configuration: int, application: str) -> None:
        """Let what runs with a configuration be counted for an application."""
        self._connection.execute("INSERT OR REPLACE INTO subjects VALUES (?, ?)", (configuration, application))

    def application_of(self, configuration: int) -> str | None:
        """Whom a configuration's jobs are counted for."""
        statement = "SELECT application FROM subjects WHERE configuration = ?"
        found = self._connection.execute(statement, (configuration,)).fetchone()
        return None if found is None else str(found[0])

    def registered(self, application: str) -> bool:
        """Whether the store knows that this node reports for an application."""
        statement = "SELECT 1 FROM registrations WHERE application = ?"
        return self._connection.execute(statement, (application,)).fetchone() is not None

    def note_registration(self, application: str) -> None:
        """The store knows it from now on."""
        self._connection.execute("INSERT OR IGNORE INTO registrations VALUES (?)", (application,))

    def note_versions(self, versions: dict[str, str]) -> None:
        """What is installed, by function: jobs that end from now on were done by these."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM versions")
            self._connection.executemany("INSERT INTO versions VALUES (?, ?)", versions.items())

    def events(self, node: str, most: int, after: int = 0) -> list[UsageEvent]:
        """The oldest that the store has not acknowledged, of jobs ``after`` that one."""
        statement = f"SELECT {_COLUMNS} FROM usage WHERE {_WAITING} AND job > ? ORDER BY job LIMIT ?"  # noqa: S608 - our own names
        rows = self._connection.execute(statement, (after, most)).fetchall()
        return [_event(node, row) for row in rows]

    def settle(self, node: str, events: Sequence[UsageEvent], done: set[str], refused: dict[str, str]) -> None:
        """The store has these, or never will."""
        now = datetime.now(UTC).isoformat()
        by_id = {event.id: int(event.data.job) for event in events}
        changes: list[tuple[str, str | None, int]] = [(now, None, by_id[each]) for each in done if each in by_id]
        changes += [(now, reason, by_id[each]) for each, reason in refused.items() if each in by_id]
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("UPDATE usage SET sent = ?, refused = ? WHERE job = ?", changes)

    def waiting(self, application: str | None = None) -> Waiting:
        """How much is on its way to the store, of one application or of all."""
        only = "" if application is None else " AND application = ?"
        statement = f"SELECT COUNT(*), COALESCE(SUM(bytes_in + bytes_out), 0) FROM usage WHERE {_WAITING}{only}"  # noqa: S608
        found = self._connection.execute(statement, () if application is None else (application,)).fetchone()
        return Waiting(int(found[0]), int(found[1]))

    def keep_quota(self, application: str, quota: QuotaLeft) -> None:
        """What the store said last."""
        values = (application, quota.until.isoformat(), quota.jobs, quota.bytes)
        self._connection.execute("INSERT OR REPLACE INTO quotas VALUES (?, ?, ?, ?)", values)

    def quota(self, application: str) -> QuotaLeft | None:
        """What the store said last, unless the month it was about is over."""
        statement = "SELECT until, jobs, bytes FROM quotas WHERE application = ?"
        found = self._connection.execute(statement, (application,)).fetchone()
        if found is None:
            return None
        quota = QuotaLeft(until=datetime.fromisoformat(found[0]), jobs=found[1], bytes=found[2])
        return quota if quota.until > datetime.now(UTC) else None


def _event(node: str, row: sqlite3.Row) -> UsageEvent:
    job = str(row["job"])
    return UsageEvent(
        id=event_id(node, job),
        source=f"/nodes/{node}",
        subject=row["application"],
        time=datetime.fromisoformat(row["ended"]),
        data=UsageData.model_validate({**dict(row), "job": job}),
    )
