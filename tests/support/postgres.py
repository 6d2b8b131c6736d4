"""A PostgreSQL server of one's own, from the system's package: an empty folder, a free port, and gone."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# Where Debian keeps what is for servers, the newest version first.
_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
MISSING = "PostgreSQL is not installed (scripts/system-packages)"
_STARTS_S = 60.0


def program(name: str) -> str | None:
    """Where one of its programs is, the server's version for all of them."""
    return shutil.which(name, path=os.pathsep.join([*map(str, _FOLDERS), os.environ.get("PATH", os.defpath)]))


def installed() -> bool:
    """Whether there is a server to start."""
    return program("initdb") is not None and program("postgres") is not None


@contextlib.contextmanager
def server(*, durable: bool = True) -> Iterator[str]:
    """The URL of a new server's empty database.

    Args:
        durable: as it comes; else without waiting for the disk, for tests of what is not about speed or power.
    """
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as name:
        folder, who = Path(name), _user()
        if who:
            shutil.chown(folder, who["user"], who["group"])
        data = folder / "data"
        locale = ("--locale=C.UTF-8", "--encoding=UTF8")
        _run([program("initdb"), "--auth=trust", "--username=store", "--no-sync", *locale, "-D", str(data)], who)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        settings = [f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories="]
        if not durable:
            settings += ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_wal_size=4GB"]
        options = [part for setting in settings for part in ("-c", setting)]
        with open(folder / "log", "wb") as log:
            command = [program("postgres") or "", "-D", str(data), *options]
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **who)
        try:
            _wait(process, port, folder / "log")
            yield f"postgres://store@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # "fast": clients are cut off
            process.wait(60)


def _user() -> dict[str, Any]:
    """Who runs it: PostgreSQL refuses root."""
    if os.geteuid():
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


def _run(command: Sequence[str | None], who: dict[str, Any]) -> None:
    done = subprocess.run([part or "" for part in command], capture_output=True, text=True, check=False, cwd="/", **who)
    assert done.returncode == 0, done.stderr


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    ready = [program("pg_isready") or "", "-q", "-h", "127.0.0.1", "-p", str(port)]
    deadline = time.monotonic() + _STARTS_S
    while subprocess.run(ready, check=False).returncode:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
