"""The node's SQLite database. Every call runs in one thread of its own, so a slow disk never stops the event loop."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from acceleratorAPI.errors import ConfigurationError
from acceleratorAPI.node.disk import disk_error
from acceleratorAPI.node.rows import ConfigurationRow, JobRow, UploadRow

_BOOLEANS = {"masked", "used", "stopped", "inerror", "complete", "partial", "folder"}
# One step a version; a new database takes them all. A step is never changed once it has been released.
_STEPS = (
    """
CREATE TABLE configurations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, accelerator TEXT NOT NULL, created TEXT NOT NULL,
    parameters TEXT NOT NULL, function_parameters TEXT NOT NULL, masked INTEGER NOT NULL, used INTEGER NOT NULL,
    stopped INTEGER NOT NULL, inerror INTEGER NOT NULL, errorcode TEXT, processed_date TEXT, result TEXT,
    datafile TEXT, datafile_name TEXT
) STRICT;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, configuration INTEGER NOT NULL, accelerator TEXT NOT NULL,
    created TEXT NOT NULL, parameters TEXT NOT NULL, state TEXT NOT NULL, errorcode TEXT, processed_date TEXT,
    result TEXT, input TEXT, input_name TEXT, input_bytes INTEGER, output TEXT,
    bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL
) STRICT;
""",
    """
ALTER TABLE jobs ADD COLUMN function_parameters TEXT NOT NULL DEFAULT '{}';
ALTER TABLE jobs ADD COLUMN masked INTEGER NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN attempts INTEGER NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN source TEXT;
ALTER TABLE jobs ADD COLUMN target TEXT;
ALTER TABLE jobs ADD COLUMN folder INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN crc32c INTEGER;
CREATE INDEX jobs_state ON jobs (state);
CREATE TABLE uploads (
    id TEXT PRIMARY KEY, created TEXT NOT NULL, expires REAL NOT NULL, boot TEXT NOT NULL, length INTEGER,
    offset INTEGER NOT NULL, crc32c INTEGER NOT NULL, complete INTEGER NOT NULL, partial INTEGER NOT NULL,
    metadata TEXT NOT NULL
) STRICT;
CREATE TABLE answers (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, job INTEGER NOT NULL, expires REAL NOT NULL
) STRICT;
""",
    """
ALTER TABLE jobs ADD COLUMN client TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN input_crc32c INTEGER;
ALTER TABLE jobs ADD COLUMN boot TEXT NOT NULL DEFAULT '';
ALTER TABLE uploads ADD COLUMN client TEXT NOT NULL DEFAULT '';
CREATE INDEX jobs_client ON jobs (client);
-- What was used, one row a job that has ended, kept when the job is deleted. By the database itself: the transaction
-- that ends a job is the one that counts it, whatever else is killed.
CREATE TABLE usage (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL UNIQUE, client TEXT NOT NULL, accelerator TEXT NOT NULL,
    state TEXT NOT NULL, errorcode TEXT, attempts INTEGER NOT NULL, bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL, kernel_s REAL, created TEXT NOT NULL, ended TEXT NOT NULL
) STRICT;
CREATE TRIGGER job_ended AFTER UPDATE OF state ON jobs WHEN NEW.state != 'queued' BEGIN
    INSERT OR IGNORE INTO usage
        (job, client, accelerator, state, errorcode, attempts, bytes_in, bytes_out, kernel_s, created, ended)
    VALUES (NEW.id, NEW.client, NEW.accelerator, NEW.state, NEW.errorcode, NEW.attempts, NEW.bytes_in, NEW.bytes_out,
        json_extract(NEW.result, '$.profiling."kernel-time"'), NEW.created, COALESCE(NEW.processed_date, NEW.created));
END;
CREATE TRIGGER job_added_ended AFTER INSERT ON jobs WHEN NEW.state != 'queued' BEGIN
    INSERT OR IGNORE INTO usage
        (job, client, accelerator, state, errorcode, attempts, bytes_in, bytes_out, kernel_s, created, ended)
    VALUES (NEW.id, NEW.client, NEW.accelerator, NEW.state, NEW.errorcode, NEW.attempts, NEW.bytes_in, NEW.bytes_out,
        json_extract(NEW.result, '$.profiling."kernel-time"'), NEW.created, COALESCE(NEW.processed_date, NEW.created));
END;
""",
)

T = TypeVar("T")
Row = TypeVar("Row", ConfigurationRow, JobRow, UploadRow)


def _table(kind: type[Any]) -> str:
    return {ConfigurationRow: "configurations", JobRow: "jobs", UploadRow: "uploads"}[kind]


class Database:
    """Rows in and out. Changes are on the disk when a call returns (WAL, ``synchronous=FULL``)."""

    def __init__(self, path: Path) -> None:
        """Raises:
        ConfigurationError: the file is not a database, or a newer version's.
        """
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database")
        self._connection = self._thread.submit(self._open, path).result()

    @staticmethod
    def _open(path: Path) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(path, timeout=10, isolation_level=None)
            connection.row_factory = sqlite3.Row
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(_STEPS):
                connection.close()
                raise ConfigurationError(
                    f"{str(path)!r} was written by a newer version; use that, or another --state folder"
                )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            for number, step in enumerate(_STEPS[version:], version + 1):
                connection.executescript(f"BEGIN;{step}PRAGMA user_version={number};COMMIT;")
        except sqlite3.Error as error:
            raise ConfigurationError(f"cannot use the node's database {str(path)!r}: {error}") from error
        return connection

    async def _call(self, work: Callable[[], T]) -> T:
        def attempt() -> T:
            try:
                return work()
            except sqlite3.OperationalError as error:
                if "full" in str(error):
                    raise disk_error("write the database", OSError(28, "No space left on device")) from error
                raise

        return await asyncio.get_running_loop().run_in_executor(self._thread, attempt)

    async def insert(self, row: ConfigurationRow | JobRow) -> int:
        """Add ``row``; its new id, never used before."""
        values = asdict(row)
        del values["id"]

        def work() -> int:
            names, marks = ", ".join(values), ", ".join("?" * len(values))
            statement = f"INSERT INTO {_table(type(row))} ({names}) VALUES ({marks})"  # noqa: S608 - our own names
            cursor = self._connection.execute(statement, tuple(values.values()))
            return cursor.lastrowid or 0

        row.id = await self._call(work)
        return row.id

    async def update(self, row: ConfigurationRow | JobRow, *, without_upload: str | None = None) -> None:
        """Write ``row`` as it is now, and remove an upload. A configuration in use takes that from every other one."""
        values = asdict(row)

        def work() -> None:
            sets = ", ".join(f"{name} = :{name}" for name in values if name != "id")
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                if isinstance(row, ConfigurationRow) and row.used:
                    connection.execute("UPDATE configurations SET used = 0")
                connection.execute(f"UPDATE {_table(type(row))} SET {sets} WHERE id = :id", values)  # noqa: S608
                if without_upload is not None:
                    connection.execute("DELETE FROM uploads WHERE id = ?", (without_upload,))

        await self._call(work)

    async def get(self, kind: type[Row], number: int) -> Row | None:
        """The row of that id."""
        rows = await self._select(kind, "WHERE id = ?", (number,))
        return rows[0] if rows else None

    async def active(self) -> ConfigurationRow | None:
        """The configuration in use."""
        rows = await self._select(ConfigurationRow, "WHERE used = 1 ORDER BY id DESC LIMIT 1", ())
        return rows[0] if rows else None

    async def page(self, kind: type[Row], number: int, size: int, client: str | None = None) -> tuple[int, list[Row]]:
        """How many rows there are, and those of page ``number`` (from 1), newest first; all, or one client's."""
        whose = "" if client is None else "WHERE client = ?"
        values: tuple[str, ...] = () if client is None else (client,)
        rows = await self._select(
            kind, f"{whose} ORDER BY id DESC LIMIT ? OFFSET ?", (*values, size, (number - 1) * size)
        )
        statement = f"SELECT COUNT(*) FROM {_table(kind)} {whose}"  # noqa: S608
        count = await self._call(lambda: int(self._connection.execute(statement, values).fetchone()[0]))
        return count, rows

    async def all(self, kind: type[Row]) -> list[Row]:
        """Every row, oldest first."""
        return await self._select(kind, "ORDER BY id", ())

    async def delete_job(self, number: int) -> None:
        """Remove a job's row."""
        await self._call(lambda: self._connection.execute("DELETE FROM jobs WHERE id = ?", (number,)))

    async def living_jobs(self) -> list[JobRow]:
        """The jobs that have not ended, oldest first."""
        return await self._select(JobRow, "WHERE state = 'queued' ORDER BY id", ())

    async def outputs(self) -> set[str]:
        """The spool names of all outputs."""
        statement = "SELECT output FROM jobs WHERE output IS NOT NULL"
        return {str(row[0]) for row in await self._call(lambda: self._connection.execute(statement).fetchall())}

    async def ended_before(self, when: str) -> list[JobRow]:
        """The jobs that ended before ``when``, an ISO 8601 time."""
        return await self._select(JobRow, "WHERE processed_date < ? ORDER BY id LIMIT 1000", (when,))

    async def uploads(self) -> list[UploadRow]:
        """All uploads."""
        return await self._select(UploadRow, "ORDER BY created", ())

    async def save_upload(self, row: UploadRow) -> None:
        """Add or write an upload."""
        values = asdict(row)

        def work() -> None:
            names, marks = ", ".join(values), ", ".join("?" * len(values))
            statement = f"INSERT OR REPLACE INTO uploads ({names}) VALUES ({marks})"  # noqa: S608 - our own names
            self._connection.execute(statement, tuple(values.values()))

        await self._call(work)

    async def delete_upload(self, identifier: str) -> None:
        """Remove an upload's row."""
        await self._call(lambda: self._connection.execute("DELETE FROM uploads WHERE id = ?", (identifier,)))

    async def insert_once(self, row: JobRow, key: str, fingerprint: str, expires: float) -> tuple[int, str]:
        """Add ``row`` under an idempotency key, or find the job that was added under it.

        Returns:
            The job's id and the fingerprint it was added with.
        """
        values = asdict(row)
        del values["id"]

        def work() -> tuple[int, str]:
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                connection.execute("DELETE FROM answers WHERE expires < ?", (time.time(),))
                known = connection.execute("SELECT job, fingerprint FROM answers WHERE key = ?", (key,)).fetchone()
                if known is not None:
                    return int(known[0]), str(known[1])
                names, marks = ", ".join(values), ", ".join("?" * len(values))
                statement = f"INSERT INTO jobs ({names}) VALUES ({marks})"  # noqa: S608 - our own names
                number = connection.execute(statement, tuple(values.values())).lastrowid or 0
                connection.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", (key, fingerprint, number, expires))
                row.id = number
                return number, fingerprint

        return await self._call(work)

    async def answer(self, key: str) -> tuple[int, str] | None:
        """The job that was added under an idempotency key, and the fingerprint it was added with."""
        statement = "SELECT job, fingerprint FROM answers WHERE key = ? AND expires >= ?"
        row = await self._call(lambda: self._connection.execute(statement, (key, time.time())).fetchone())
        return None if row is None else (int(row[0]), str(row[1]))

    async def stop_configurations(self) -> list[str]:
        """No configuration can be used from now on; the spool names of their files, which may go."""

        def work() -> list[str]:
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                names = connection.execute("SELECT datafile FROM configurations WHERE datafile IS NOT NULL").fetchall()
                connection.execute("UPDATE configurations SET used = 0, stopped = 1, datafile = NULL")
            return [str(name[0]) for name in names]

        return await self._call(work)

    async def _select(self, kind: type[Row], rest: str, arguments: tuple[Any, ...]) -> list[Row]:
        names = [field.name for field in fields(kind)]
        statement = f"SELECT {', '.join(names)} FROM {_table(kind)} {rest}"  # noqa: S608

        def work() -> list[Row]:
            found = self._connection.execute(statement, arguments).fetchall()
            values: list[dict[str, Any]] = [
                {name: bool(row[name]) if name in _BOOLEANS else row[name] for name in names} for row in found
            ]
            return [kind(**value) for value in values]

        return await self._call(work)

    def close(self) -> None:
        """Finish what is under way and close the file."""
        self._thread.submit(self._connection.close).result()
        self._thread.shutdown()
