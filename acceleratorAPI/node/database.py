"""The node's SQLite database, in one thread of its own, so that a slow disk never stops the event loop.

Changes that come while a commit is under way share the next one: what many jobs cost is one flush, not many.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from acceleratorAPI.errors import ConfigurationError
from acceleratorAPI.node.disk import disk_error
from acceleratorAPI.node.rows import ConfigurationRow, JobRow, Once, UploadRow

_BOOLEANS = {"masked", "used", "stopped", "inerror", "complete", "partial", "folder", "inline"}
_COUNTED = """WHEN NEW.state != 'queued' BEGIN
    INSERT OR IGNORE INTO usage (job, client, application, accelerator, state, errorcode, attempts, bytes_in, bytes_out,
        engine, engine_us, wall_us, created, ended)
    VALUES (NEW.id, NEW.client,
        COALESCE((SELECT application FROM subjects WHERE configuration = NEW.configuration), ''), NEW.accelerator,
        NEW.state, NEW.errorcode, NEW.attempts, NEW.bytes_in, NEW.bytes_out,
        COALESCE(json_extract(NEW.result, '$.profiling.backend'), ''),
        CAST(ROUND(COALESCE(json_extract(NEW.result, '$.profiling."kernel-time"'), 0) * 1e6) AS INTEGER),
        CAST(ROUND(COALESCE(json_extract(NEW.result, '$.profiling."wall-clock-time"'), 0) * 1e6) AS INTEGER),
        NEW.created, COALESCE(NEW.processed_date, NEW.created));
END;
"""
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
    (
        """
ALTER TABLE jobs ADD COLUMN client TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN input_crc32c INTEGER;
ALTER TABLE jobs ADD COLUMN boot TEXT NOT NULL DEFAULT '';
ALTER TABLE uploads ADD COLUMN client TEXT NOT NULL DEFAULT '';
CREATE INDEX jobs_client ON jobs (client);
-- What was used, one row a job that has ended, kept when the job is deleted. By the database itself: the transaction
-- that ends a job is the one that counts it, whatever else is killed. `sent` is when the store took it (or `refused`).
CREATE TABLE usage (
    job INTEGER PRIMARY KEY, client TEXT NOT NULL, application TEXT NOT NULL, accelerator TEXT NOT NULL,
    state TEXT NOT NULL, errorcode TEXT, attempts INTEGER NOT NULL, bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL, engine TEXT NOT NULL, engine_us INTEGER NOT NULL, wall_us INTEGER NOT NULL,
    created TEXT NOT NULL, ended TEXT NOT NULL, sent TEXT, refused TEXT
) STRICT;
CREATE INDEX usage_waiting ON usage (job) WHERE sent IS NULL AND application != '';
CREATE INDEX usage_ended ON usage (ended);
-- Of a node that reports to a store: itself, whom a configuration's jobs are counted for, and what that one has left.
CREATE TABLE identity (node TEXT NOT NULL, key TEXT NOT NULL) STRICT;
CREATE TABLE subjects (configuration INTEGER PRIMARY KEY, application TEXT NOT NULL) STRICT;
CREATE TABLE registrations (application TEXT PRIMARY KEY) STRICT;
CREATE TABLE quotas (application TEXT PRIMARY KEY, until TEXT NOT NULL, jobs INTEGER, bytes INTEGER) STRICT;
"""
        f"CREATE TRIGGER job_ended AFTER UPDATE OF state ON jobs {_COUNTED}"
        f"CREATE TRIGGER job_added_ended AFTER INSERT ON jobs {_COUNTED}"
    ),
    """
ALTER TABLE jobs ADD COLUMN inline INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_ended ON jobs (processed_date);
CREATE INDEX jobs_outputs ON jobs (client) WHERE output IS NOT NULL;
CREATE INDEX answers_expire ON answers (expires);
""",
    """
-- The version of the function that did a job, which its price may depend on: written down when the job ends, since
-- another one may be installed before the store has the record. '' where no store counts, and of jobs before this step.
ALTER TABLE usage ADD COLUMN version TEXT NOT NULL DEFAULT '';
CREATE TABLE versions (accelerator TEXT PRIMARY KEY, version TEXT NOT NULL) STRICT;
CREATE TRIGGER usage_version AFTER INSERT ON usage BEGIN
    UPDATE usage SET version = COALESCE((SELECT version FROM versions WHERE accelerator = NEW.accelerator), '')
    WHERE job = NEW.job;
END;
""",
)

T = TypeVar("T")
Row = TypeVar("Row", ConfigurationRow, JobRow, UploadRow)


@dataclass(frozen=True)
class _Table:
    """A table's statements, and the columns in their order."""

    name: str
    columns: tuple[str, ...]

    @property
    def insert(self) -> str:
        return f"INTO {self.name} ({', '.join(self.columns)}) VALUES ({', '.join('?' * len(self.columns))})"

    @property
    def update(self) -> str:
        sets = ", ".join(f"{name} = ?" for name in self.columns)
        return f"UPDATE {self.name} SET {sets} WHERE id = ?"  # noqa: S608 - our own names

    def values(self, row: object) -> tuple[Any, ...]:
        return tuple(getattr(row, name) for name in self.columns)


def _table(kind: type[Any], name: str, *, own_id: bool = False) -> _Table:
    return _Table(name, tuple(field.name for field in fields(kind) if own_id or field.name != "id"))


_TABLES: dict[type[Any], _Table] = {
    ConfigurationRow: _table(ConfigurationRow, "configurations"),
    JobRow: _table(JobRow, "jobs"),
    UploadRow: _table(UploadRow, "uploads", own_id=True),
}


class _Change:
    """Something to be written, and who waits for it to be on the disk; without ``flush``, in the system's hands."""

    def __init__(self, work: Callable[[sqlite3.Connection], Any], *, flush: bool) -> None:
        self.work = work
        self.flush = flush
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.result: Any = None
        self.error: Exception | None = None

    def settle(self) -> None:
        # Whoever waited may have been cancelled.
        if not self.future.done():
            self.future.set_result(self.result) if self.error is None else self.future.set_exception(self.error)


def connect(path: Path, *, any_thread: bool = False) -> sqlite3.Connection:
    """A connection to a node's database, which is brought to this version.

    Args:
        path: of the file; made when it is missing.
        any_thread: its user sees to it that one thread at a time has it; else only the calling thread may.

    Raises:
        ConfigurationError: the file is not a database, or a newer version's.
    """
    try:
        connection = sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=not any_thread)
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


class Database:
    """Rows in and out. Changes are on the disk when a call returns (WAL, ``synchronous=FULL``), but for offsets."""

    def __init__(self, path: Path) -> None:
        """Raises:
        ConfigurationError: the file is not a database, or a newer version's.
        """
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database")
        self._connection = self._thread.submit(connect, path).result()
        self._changes: list[_Change] = []
        self._writing: asyncio.Future[None] | None = None

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._connection)

    async def _write(self, work: Callable[[sqlite3.Connection], T], *, flush: bool = True) -> T:
        """Do ``work`` in a transaction, which others may share; its answer once that is on the disk.

        Without ``flush`` it survives the end of this process, but perhaps not that of the machine.
        """
        change = _Change(work, flush=flush)
        self._changes.append(change)
        if self._writing is None:
            self._write_on()
        found: T = await change.future
        return found

    def _write_on(self) -> None:
        changes, self._changes = self._changes, []
        self._writing = asyncio.get_running_loop().run_in_executor(self._thread, self._commit, changes)
        self._writing.add_done_callback(lambda _: self._written(changes))

    def _written(self, changes: list[_Change]) -> None:
        self._writing = None
        if self._changes:
            self._write_on()
        for change in changes:
            change.settle()

    def _commit(self, changes: list[_Change]) -> None:
        """All of ``changes`` in one transaction; one that fails undoes itself alone."""
        connection = self._connection
        flush = any(change.flush for change in changes)
        try:
            if not flush:
                connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            for change in changes:
                connection.execute("SAVEPOINT change")
                try:
                    change.result = change.work(connection)
                except Exception as error:  # noqa: BLE001 - of whoever waits for it
                    change.error = _named(error)
                    connection.execute("ROLLBACK TO change")
                connection.execute("RELEASE change")
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - as above
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            # The first of them, when the database itself has undone everything at it.
            cause = next((change.error for change in changes if change.error is not None), _named(error))
            for change in changes:
                change.error = cause
        finally:
            if not flush:
                connection.execute("PRAGMA synchronous=FULL")

    async def insert(self, row: ConfigurationRow | JobRow, *, flush: bool = True) -> int:
        """Add ``row``; its new id, never used before (if a power failure does not take it, without ``flush``)."""
        table = _TABLES[type(row)]
        row.id = await self._write(
            lambda connection: connection.execute(f"INSERT {table.insert}", table.values(row)).lastrowid or 0,
            flush=flush,
        )
        return row.id

    async def flush_job(self, number: int) -> None:
        """Put a job on the disk that was added without."""
        statement = "UPDATE jobs SET attempts = attempts WHERE id = ?"
        await self._write(lambda connection: connection.execute(statement, (number,)))

    async def update(self, row: ConfigurationRow | JobRow, *, without_upload: str | None = None) -> None:
        """Write ``row`` as it is now, and remove an upload. A configuration in use takes that from every other one."""
        table = _TABLES[type(row)]
        values = (*table.values(row), row.id)

        def work(connection: sqlite3.Connection) -> None:
            if isinstance(row, ConfigurationRow) and row.used:
                connection.execute("UPDATE configurations SET used = 0")
            connection.execute(table.update, values)
            if without_upload is not None:
                connection.execute("DELETE FROM uploads WHERE id = ?", (without_upload,))

        await self._write(work)

    async def get(self, kind: type[Row], number: int) -> Row | None:
        """The row of that id."""
        rows = await self._select(kind, "WHERE id = ?", (number,))
        return rows[0] if rows else None

    async def page(self, kind: type[Row], number: int, size: int, client: str | None = None) -> tuple[int, list[Row]]:
        """How many rows there are, and those of page ``number`` (from 1), newest first; all, or one client's."""
        whose = "" if client is None else "WHERE client = ?"
        values: tuple[str, ...] = () if client is None else (client,)
        rows = await self._select(
            kind, f"{whose} ORDER BY id DESC LIMIT ? OFFSET ?", (*values, size, (number - 1) * size)
        )
        statement = f"SELECT COUNT(*) FROM {_TABLES[kind].name} {whose}"  # noqa: S608
        count = await self._read(lambda connection: int(connection.execute(statement, values).fetchone()[0]))
        return count, rows

    async def all(self, kind: type[Row]) -> list[Row]:
        """Every row, oldest first."""
        return await self._select(kind, "ORDER BY id", ())

    async def delete_job(self, number: int) -> None:
        """Remove a job's row."""
        await self._write(lambda connection: connection.execute("DELETE FROM jobs WHERE id = ?", (number,)))

    async def living_jobs(self) -> list[JobRow]:
        """The jobs that have not ended, oldest first."""
        return await self._select(JobRow, "WHERE state = 'queued' ORDER BY id", ())

    async def outputs(self) -> set[str]:
        """The spool names of all outputs."""
        statement = "SELECT output FROM jobs WHERE output IS NOT NULL"
        return {str(row[0]) for row in await self._read(lambda connection: connection.execute(statement).fetchall())}

    async def expire_jobs(self, ended_before: str, limit: int) -> list[tuple[int, str | None]]:
        """Remove jobs that ended before that ISO 8601 time, at most ``limit``; their ids and outputs' spool names."""
        statement = (
            "DELETE FROM jobs WHERE id IN"
            " (SELECT id FROM jobs WHERE processed_date < ? ORDER BY processed_date LIMIT ?) RETURNING id, output"
        )
        found = await self._write(lambda connection: connection.execute(statement, (ended_before, limit)).fetchall())
        return [(int(row[0]), row[1]) for row in found]

    async def output_bytes(self, client: str) -> int:
        """The size of all outputs that are kept for a client."""
        statement = "SELECT COALESCE(SUM(bytes_out), 0) FROM jobs WHERE client = ? AND output IS NOT NULL"
        return await self._read(lambda connection: int(connection.execute(statement, (client,)).fetchone()[0]))

    async def uploads(self) -> list[UploadRow]:
        """All uploads."""
        return await self._select(UploadRow, "ORDER BY created", ())

    async def save_upload(self, row: UploadRow, *, flush: bool = True) -> None:
        """Add or write an upload; without ``flush`` a power failure may take it back to how it was written before."""
        table = _TABLES[UploadRow]
        values = table.values(row)
        await self._write(
            lambda connection: connection.execute(f"INSERT OR REPLACE {table.insert}", values), flush=flush
        )

    async def delete_upload(self, identifier: str) -> None:
        """Remove an upload's row."""
        await self._write(lambda connection: connection.execute("DELETE FROM uploads WHERE id = ?", (identifier,)))

    async def insert_jobs(self, rows: Sequence[JobRow], once: Once | None, *, flush: bool = True) -> None:
        """As ``insert``, all of them or none, with ids in a row; the first is found again by ``once``."""
        table = _TABLES[JobRow]

        def work(connection: sqlite3.Connection) -> list[int]:
            numbers = [connection.execute(f"INSERT {table.insert}", table.values(row)).lastrowid or 0 for row in rows]
            if once is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)",
                    (once.key, once.fingerprint, numbers[0], once.expires),
                )
            return numbers

        for row, number in zip(rows, await self._write(work, flush=flush), strict=True):
            row.id = number

    async def expire_keys(self) -> None:
        """Forget idempotency keys whose time is over."""
        await self._write(
            lambda connection: connection.execute("DELETE FROM answers WHERE expires < ?", (time.time(),))
        )

    async def answer(self, key: str) -> tuple[int, str] | None:
        """The job that was added under an idempotency key, and the fingerprint it was added with."""
        statement = "SELECT job, fingerprint FROM answers WHERE key = ? AND expires >= ?"
        row = await self._read(lambda connection: connection.execute(statement, (key, time.time())).fetchone())
        return None if row is None else (int(row[0]), str(row[1]))

    async def stop_configurations(self) -> list[str]:
        """No configuration can be used from now on; the spool names of their files, which may go."""

        def work(connection: sqlite3.Connection) -> list[str]:
            names = connection.execute("SELECT datafile FROM configurations WHERE datafile IS NOT NULL").fetchall()
            connection.execute("UPDATE configurations SET used = 0, stopped = 1, datafile = NULL")
            return [str(name[0]) for name in names]

        return await self._write(work)

    async def _select(self, kind: type[Row], rest: str, arguments: tuple[Any, ...]) -> list[Row]:
        names = [field.name for field in fields(kind)]
        statement = f"SELECT {', '.join(names)} FROM {_TABLES[kind].name} {rest}"  # noqa: S608

        def work(connection: sqlite3.Connection) -> list[Row]:
            found = connection.execute(statement, arguments).fetchall()
            values: list[dict[str, Any]] = [
                {name: bool(row[name]) if name in _BOOLEANS else row[name] for name in names} for row in found
            ]
            return [kind(**value) for value in values]

        return await self._read(work)

    def close(self) -> None:
        """Finish what is under way and close the file."""
        self._thread.submit(self._connection.close).result()
        self._thread.shutdown()


def _named(error: Exception) -> Exception:
    """A full disk as our error, anything else as it is."""
    if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
        full = disk_error("write the database", OSError(28, "No space left on device"))
        full.__cause__ = error
        return full
    return error
