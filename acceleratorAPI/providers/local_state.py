"""What is on disk of the LOCAL instances: one folder each, which appears and goes whole. No process is started here."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from acceleratorAPI.errors import InstanceNotFoundError, nearest
from acceleratorAPI.files import access_error, replacing
from acceleratorAPI.protocol import unsent
from acceleratorAPI.protocol.stop import StopMode
from acceleratorAPI.protocol.tokens import TOKENS_FILE, TokenList, new_token
from acceleratorAPI.providers import processes
from acceleratorAPI.providers.certificates import CERTIFICATE, fingerprint_of
from acceleratorAPI.providers.processes import ProcessId

# A folder still being made or removed has a name with this first; older ones were left by a killed process.
_HIDDEN = "."
_LEFT_AFTER_S = 60.0
# Beside the folder of the instances, whose folders are also their nodes'.
_TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class Record:
    """``instance.json``: written before the node is started, so that nothing runs unrecorded.

    Attributes:
        id: of the instance, and the folder's name.
        accelerator: the function it was made for.
        created: ISO 8601, UTC.
        stop_mode: what becomes of it when its user is gone.
        maker: the process that starts the node; while there is none yet, the folder lives as long as this.
        node: the node's process, once it is started.
    """

    id: str
    accelerator: str
    created: str
    stop_mode: StopMode
    maker: ProcessId
    node: ProcessId | None = None

    def is_left_behind(self) -> bool:
        """Whether it was to end with its user, and has no process any more."""
        return self.stop_mode is StopMode.TERM and processes.find(self.node or self.maker) is None


class InstanceFolder:
    """One instance's folder: ``instance.json``, ``node.json``, ``node.log`` and what the node keeps.

    Its token is ours, not the node's, and lies beside: in ``tokens`` under the instance's id.
    """

    def __init__(self, path: Path) -> None:
        """Take the folder at ``path``; nothing is read yet."""
        self.path = path
        self.log = path / "node.log"

    def read(self) -> Record | None:
        """The record, or ``None`` when the folder is going or gone."""
        values = _load(self.path / "instance.json")
        if values is None:
            return None
        return Record(
            id=values["id"],
            accelerator=values["accelerator"],
            created=values["created"],
            stop_mode=StopMode.parse(values["stop_mode"]),
            maker=ProcessId(**values["maker"]),
            node=ProcessId(**values["node"]) if values["node"] else None,
        )

    def write(self, record: Record) -> None:
        """Put ``record`` in the place of the one there is.

        Raises:
            FileAccessError: it cannot be written; the one there is stays.
        """
        values = {
            "id": record.id,
            "accelerator": record.accelerator,
            "created": record.created,
            "stop_mode": record.stop_mode.name,
            "maker": _process_values(record.maker),
            "node": _process_values(record.node) if record.node else None,
        }
        path = self.path / "instance.json"
        try:
            with replacing(path) as file:
                file.write(json.dumps(values, indent=2).encode())
        except OSError as error:
            raise access_error("write", path, error) from error

    def token(self) -> str:
        """What opens the node. The node itself knows its digest alone."""
        # The second is where it was kept before nodes did.
        for path in (self._token_path, self.path / "token"):
            with contextlib.suppress(FileNotFoundError):
                return path.read_text(encoding="ascii").strip()
        return ""

    @property
    def _token_path(self) -> Path:
        return self.path.parent.with_name(_TOKENS) / self.path.name

    @property
    def unsent(self) -> Path:
        """Where usage is kept that the store did not take before the instance's end."""
        return self.path.parent.with_name(unsent.FOLDER)

    def fingerprint(self) -> str:
        """Of the node's certificate; empty when it does not speak TLS."""
        try:
            return fingerprint_of((self.path / CERTIFICATE).read_text(encoding="ascii"))
        except FileNotFoundError:
            return ""

    def node_url(self, node: ProcessId) -> str:
        """Where the node listens, or empty while it does not: an earlier run's address does not count."""
        values = _load(self.path / "node.json")
        return str(values["url"]).rstrip("/") if values and values["pid"] == node.pid else ""

    def forget_address(self) -> None:
        """Drop the address of an earlier run."""
        (self.path / "node.json").unlink(missing_ok=True)

    def log_end(self, lines: int = 3) -> str:
        """The last lines of the node's log, as one line."""
        try:
            with open(self.log, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
                text = file.read().decode(errors="replace")
        except OSError:
            return "no log"
        kept = [" ".join(line.split()) for line in text.splitlines() if line.strip()][-lines:]
        return " / ".join(kept) or "its log is empty"

    def remove(self) -> None:
        """Make the instance disappear: at once by name, then file by file."""
        going = self.path.with_name(f"{_HIDDEN}{self.path.name}.{secrets.token_hex(4)}")
        self._token_path.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if not unsent.set_aside(self.path, self.unsent):
                os.rename(self.path, going)
                shutil.rmtree(going, ignore_errors=True)


class Folders:
    """All instance folders of this user, and their tokens."""

    def __init__(self, root: Path) -> None:
        """Take the folder ``root``, which need not exist yet."""
        self.root = root
        self._tokens = root.with_name(_TOKENS)

    def make(self, accelerator: str, maker: ProcessId) -> tuple[InstanceFolder, Record]:
        """A new folder with its record and token.

        Raises:
            FileAccessError: the state folder may not be written.
        """
        identifier = f"local-{secrets.token_hex(4)}"
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = Record(identifier, accelerator, created, StopMode.TERM, maker)
        making = self.root / f"{_HIDDEN}{identifier}.{secrets.token_hex(4)}"
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            making.mkdir(mode=0o700)
            self._tokens.mkdir(mode=0o700, exist_ok=True)
            token, known = new_token(("admin",), name="LOCAL")
            _write_private(self._tokens / identifier, token)
            _write_private(making / TOKENS_FILE, TokenList(tokens=[known]).model_dump_json())
            InstanceFolder(making).write(record)
            os.rename(making, self.root / identifier)
        except OSError as error:
            raise access_error("write", self.root, error) from error
        return InstanceFolder(self.root / identifier), record

    def get(self, instance_id: str) -> tuple[InstanceFolder, Record]:
        """The folder of that instance.

        Raises:
            InstanceNotFoundError: there is none.
        """
        known = dict(self._recorded())
        for folder, record in known.items():
            if record.id == instance_id:
                return folder, record
        ids = [record.id for record in known.values()]
        raise InstanceNotFoundError(f"no LOCAL instance {instance_id!r} on this machine; {nearest(instance_id, ids)}")

    def sweep(self) -> list[tuple[InstanceFolder, Record]]:
        """Remove what was to end with its user and has no process any more; what is left, oldest first."""
        left = []
        for folder, record in self._recorded():
            if record.is_left_behind():
                folder.remove()
            else:
                left.append((folder, record))
        for path in self._entries(hidden=True):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _LEFT_AFTER_S:
                    shutil.rmtree(path, ignore_errors=True)
        for path in self._left_tokens():
            path.unlink(missing_ok=True)
        return sorted(left, key=lambda entry: entry[1].created)

    def left_behind(self) -> list[str]:
        """What ``sweep`` would remove, a line each."""
        ended = [record.id for _, record in self._recorded() if record.is_left_behind()]
        tokens = [path.name for path in self._left_tokens()]
        return [*(f"{id_}: its process has ended" for id_ in ended), *(f"{id_}: its token" for id_ in tokens)]

    def _left_tokens(self) -> list[Path]:
        """The tokens of instances that ended by themselves."""
        with contextlib.suppress(FileNotFoundError):
            # In the order in which an instance gets them: its hidden folder, its token, its name.
            tokens = list(self._tokens.iterdir())
            making = {path.name.split(".")[1] for path in self._entries(hidden=True)}
            return [path for path in tokens if path.name not in making and not (self.root / path.name).exists()]
        return []

    def _recorded(self) -> Iterator[tuple[InstanceFolder, Record]]:
        for path in self._entries(hidden=False):
            folder = InstanceFolder(path)
            record = folder.read()
            if record is not None:
                yield folder, record

    def _entries(self, *, hidden: bool) -> list[Path]:
        try:
            return [path for path in self.root.iterdir() if path.name.startswith(_HIDDEN) == hidden]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise access_error("read", self.root, error) from error


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(text)


def _process_values(process: ProcessId) -> dict[str, Any]:
    return {"pid": process.pid, "create_time": process.create_time}


def _load(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
