"""The state folder of a node: its lock, token, address file, database, spool and scratch. One living node a folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import psutil

from acceleratorAPI.errors import ConfigurationError, FileAccessError, StateError
from acceleratorAPI.files import replacing
from acceleratorAPI.node.tokens import TokenFile, Tokens
from acceleratorAPI.protocol.unsent import DATABASE, MARKER, set_aside


class StateFolder:
    """The folder, locked for this process until it ends."""

    def __init__(self, folder: Path) -> None:
        """Raises:
        ConfigurationError: it cannot be written, or another living node uses it.
        """
        self.folder = folder
        self.database = folder / "node.db"
        self.spool = folder / "spool"
        self.temporary = folder / "tmp"
        self.scratch = folder / "scratch"
        self._address = folder / "node.json"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chmod(folder, 0o700)
            self._lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigurationError(
                f"--state {str(folder)!r} cannot be used: {reason}; name a writable folder"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            other = self._read_address()
            who = f" ({other['url']}, process {other['pid']})" if other else ""
            raise ConfigurationError(
                f"--state {str(folder)!r} is in use by another node{who}; end that one, or name another folder"
            ) from error
        # Left by a node that was killed: nothing answers there.
        self.remove_address()

    def _read_address(self) -> dict[str, Any]:
        try:
            found = json.loads(self._address.read_text(encoding="utf-8"))
            return {"url": found["url"], "pid": found["pid"]}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def tokens(self, token_file: Path | None) -> Tokens:
        """Those of the folder, and the one of ``token_file``.

        A folder that has none, where none is given, gets one: in clear in the file ``token``, for its owner to read.

        Raises:
            ConfigurationError: a file cannot be read, is damaged or empty.
        """
        file = TokenFile(self.folder)
        try:
            known = any(record.revoked is None for record in file.read())
            if token_file is None and known and not (self.folder / "token").exists():
                return Tokens(file, None)
            return Tokens(file, self._token(token_file))
        except (StateError, FileAccessError) as error:
            raise ConfigurationError(str(error)) from error

    def _token(self, token_file: Path | None) -> str:
        path = token_file or self.folder / "token"
        if token_file is None and not path.exists():
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
        try:
            token = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"cannot read the token file {str(path)!r}: {error}") from error
        if not token:
            raise ConfigurationError(f"the token file {str(path)!r} is empty; write a token in it, or remove it")
        return token

    def make_workplaces(self) -> None:
        """The folders whose files workers make: spool, scratch and temporary ones, the last one emptied."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        for place in (self.spool, self.scratch, self.temporary):
            place.mkdir(mode=0o700, exist_ok=True)

    def write_address(self, url: str, version: str, fingerprint: str) -> None:
        """Tell the world of this machine that the node listens at ``url``, with which certificate if any."""
        process = psutil.Process()
        record: dict[str, Any] = {
            "pid": process.pid,
            "create_time": process.create_time(),
            "url": url,
            "version": version,
        }
        if fingerprint:
            record["fingerprint"] = fingerprint
        with replacing(self._address) as file:
            file.write(json.dumps(record).encode() + b"\n")

    def remove_address(self) -> None:
        """The node does not listen any more."""
        with contextlib.suppress(OSError):
            self._address.unlink(missing_ok=True)

    def remove(self, unsent: Path | None = None) -> None:
        """Remove all a node and its provider keep here, and the folder when nothing else is in it.

        Usage that the store may lack goes to ``unsent``, or stays.
        """
        with contextlib.suppress(FileNotFoundError, FileAccessError):
            if unsent is not None and set_aside(self.folder, unsent):
                return
        for owned in (self.spool, self.scratch, self.temporary):
            shutil.rmtree(owned, ignore_errors=True)
        # By name, never the whole tree: --state may name a folder that has other things in it. The lock goes last.
        names = (
            "node.json",
            "token",
            *(() if (self.folder / MARKER).exists() else (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm")),
            "instance.json",
            "node.log",
            "tls-cert.pem",
            "tls-key.pem",
            "tokens.json",
            "store-keys.json",
            "lock",
        )
        for name in names:
            with contextlib.suppress(OSError):
                (self.folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
