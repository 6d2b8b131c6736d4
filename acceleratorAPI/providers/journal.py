"""The journal of cloud instances: what is about to be made is written down, durably, before it is asked for.

A row goes only when the cloud itself has said that there is nothing left. So whoever reads it later finds all that a
killed process began.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from acceleratorAPI.errors import InstanceError
from acceleratorAPI.files import access_error
from acceleratorAPI.protocol.stop import StopMode
from acceleratorAPI.providers import processes
from acceleratorAPI.providers.processes import ProcessId

FILE = "journal.db"
# intent: it may exist, or be on its way. made: it exists. ready: its node has answered. stopped: kept without running.
State = Literal["intent", "made", "ready", "stopped", "ending"]

_VERSION = 1
_WAIT_S = 30.0
_COLUMNS = (
    "session", "provider", "account", "region", "launch_token", "request", "instance_id", "state", "stop_mode",
    "node_token", "pid", "process_started", "host", "created", "changed",
)  # fmt: skip
_SCHEMA = f"""
CREATE TABLE launches (
    session TEXT PRIMARY KEY, provider TEXT NOT NULL, account TEXT NOT NULL, region TEXT NOT NULL,
    launch_token TEXT NOT NULL, request TEXT NOT NULL, instance_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN {get_args(State)}), stop_mode TEXT NOT NULL, node_token TEXT NOT NULL,
    pid INTEGER NOT NULL, process_started REAL NOT NULL, host TEXT NOT NULL,
    created REAL NOT NULL, changed REAL NOT NULL
) STRICT
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One instance, made or about to be.

    Attributes:
        session: names it before the cloud has given it an id.
        launch_token: what the cloud knows the request by.
        request: what was asked for, as JSON; empty once it is answered.
        instance_id: empty as long as nobody knows it.
        node_token: opens its node.
        owner: the process that uses it.
        host: of that process: name and boot.
        created: seconds since the epoch, as ``changed``.
    """

    session: str
    provider: str
    account: str
    region: str
    launch_token: str
    request: str = field(repr=False)
    instance_id: str
    state: State
    stop_mode: StopMode
    node_token: str = field(repr=False)
    owner: ProcessId
    host: str
    created: float
    changed: float

    def owner_is_gone(self) -> bool:
        """Whether the owner has certainly ended: nothing is known of the processes of other machines."""
        name, _, boot = self.host.partition("/")
        here, _, boot_here = this_host().partition("/")
        return name == here and (boot != boot_here or processes.find(self.owner) is None)


class Journal:
    """The journal of one user, shared by all processes of this machine."""

    def __init__(self, folder: Path) -> None:
        """Take the journal in ``folder``; neither need exist yet."""
        self._path = folder / FILE

    def begin(self, session: str, provider: str, account: str, node_token: str) -> None:
        """Write down that this process is about to make an instance."""
        owner = ProcessId.of(os.getpid())
        assert owner is not None
        now = time.time()
        values = (session, provider, account, "", "", "", "", "intent", StopMode.TERM.name, node_token)
        row = (*values, owner.pid, owner.create_time, this_host(), now, now)
        with self._writing() as connection:
            connection.execute(f"INSERT INTO launches VALUES ({','.join('?' * len(_COLUMNS))})", row)  # noqa: S608

    def intend(self, session: str, region: str, launch_token: str, request: str) -> None:
        """Write down the very request that is sent next."""
        self._change(session, region=region, launch_token=launch_token, request=request)

    def made(self, session: str, instance_id: str) -> None:
        """The cloud has answered with an id."""
        self._change(session, instance_id=instance_id, request="", state="made")

    def note(self, session: str, state: State, stop_mode: StopMode | None = None) -> None:
        """Write down where the instance stands; it belongs to its maker still."""
        mode = {} if stop_mode is None else {"stop_mode": stop_mode.name}
        self._change(session, state=state, **mode)

    def take(self, session: str) -> None:
        """Make this process the owner."""
        owner = ProcessId.of(os.getpid())
        assert owner is not None
        self._change(session, pid=owner.pid, process_started=owner.create_time, host=this_host())

    def close(self, session: str) -> None:
        """The cloud has said that the instance is gone, or was never made: forget it and its token."""
        with self._writing() as connection:
            connection.execute("DELETE FROM launches WHERE session = ?", (session,))

    def entries(self, provider: str) -> list[Entry]:
        """All of a provider, oldest first."""
        if not self._path.exists():
            return []
        with self._opened() as connection:
            columns = ", ".join(_COLUMNS)
            rows = connection.execute(
                f"SELECT {columns} FROM launches WHERE provider = ? ORDER BY created",  # noqa: S608 - our own names
                (provider,),
            ).fetchall()
        return [_entry(row) for row in rows]

    def of_instance(self, provider: str, instance_id: str) -> Entry | None:
        """That of an instance, if it was made here."""
        return next((entry for entry in self.entries(provider) if entry.instance_id == instance_id), None)

    def _change(self, session: str, **values: object) -> None:
        values["changed"] = time.time()
        columns = ", ".join(f"{name} = ?" for name in values)
        with self._writing() as connection:
            connection.execute(f"UPDATE launches SET {columns} WHERE session = ?", (*values.values(), session))  # noqa: S608

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._opened() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Before SQLite: nobody else may ever have read it.
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise access_error("write", self._path, error) from error
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=_WAIT_S, isolation_level=None)) as connection:
                # FULL: after a commit not even a power cut takes the row away again.
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA secure_delete = ON")
                _migrate(connection)
                yield connection
        except sqlite3.Error as error:
            raise InstanceError(f"the journal {self._path} cannot be used: {error}") from error


def this_host() -> str:
    """This machine in this boot: ``name/boot id``."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()}/{boot}"


def _migrate(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA user_version").fetchone()[0] >= _VERSION:
        return
    connection.execute("PRAGMA journal_mode = WAL")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {_VERSION}")


def _entry(row: tuple[object, ...]) -> Entry:
    values = dict(zip(_COLUMNS, row, strict=True))
    pid, started = values.pop("pid"), values.pop("process_started")
    values["stop_mode"] = StopMode.parse(values["stop_mode"])  # type: ignore[arg-type]
    return Entry(owner=ProcessId(pid, started), **values)  # type: ignore[arg-type]
