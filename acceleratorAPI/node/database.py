"""The node's SQLite database. Every call runs in one thread of its own, so a slow disk never stops the event loop."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from acceleratorAPI.errors import ConfigurationError
from acceleratorAPI.node.disk import disk_error
from acceleratorAPI.node.rows import ConfigurationRow, JobRow

_VERSION = 1
_BOOLEANS = {"masked", "used", "stopped", "inerror"}
_SCHEMA = """
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
"""

T = TypeVar("T")
Row = TypeVar("Row", ConfigurationRow, JobRow)


def _table(kind: type[Any]) -> str:
    return "configurations" if kind is ConfigurationRow else "jobs"


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
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={_VERSION};COMMIT;")
        except sqlite3.Error as error:
            raise ConfigurationError(f"cannot use the node's database {str(path)!r}: {error}") from error
        if version > _VERSION:
            raise ConfigurationError(
                f"{str(path)!r} was written by a newer version; use that, or another --state folder"
            )
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

    async def update(self, row: ConfigurationRow | JobRow) -> None:
        """Write ``row`` as it is now. A configuration in use takes that from every other one."""
        values = asdict(row)

        def work() -> None:
            sets = ", ".join(f"{name} = :{name}" for name in values if name != "id")
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                if isinstance(row, ConfigurationRow) and row.used:
                    connection.execute("UPDATE configurations SET used = 0")
                connection.execute(f"UPDATE {_table(type(row))} SET {sets} WHERE id = :id", values)  # noqa: S608

        await self._call(work)

    async def get(self, kind: type[Row], number: int) -> Row | None:
        """The row of that id."""
        rows = await self._select(kind, "WHERE id = ?", (number,))
        return rows[0] if rows else None

    async def active(self) -> ConfigurationRow | None:
        """The configuration in use."""
        rows = await self._select(ConfigurationRow, "WHERE used = 1 ORDER BY id DESC LIMIT 1", ())
        return rows[0] if rows else None

    async def page(self, kind: type[Row], number: int, size: int) -> tuple[int, list[Row]]:
        """How many rows there are, and those of page ``number`` (from 1), newest first."""
        rows = await self._select(kind, "ORDER BY id DESC LIMIT ? OFFSET ?", (size, (number - 1) * size))
        statement = f"SELECT COUNT(*) FROM {_table(kind)}"  # noqa: S608
        count = await self._call(lambda: int(self._connection.execute(statement).fetchone()[0]))
        return count, rows

    async def all(self, kind: type[Row]) -> list[Row]:
        """Every row, oldest first."""
        return await self._select(kind, "ORDER BY id", ())

    async def delete_job(self, number: int) -> None:
        """Remove a job's row."""
        await self._call(lambda: self._connection.execute("DELETE FROM jobs WHERE id = ?", (number,)))

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
