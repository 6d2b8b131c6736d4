"""Named accelerators kept between commands: which instance each name stands for. No secret is kept here."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from acceleratorAPI.config import state_folder
from acceleratorAPI.errors import StateError, nearest
from acceleratorAPI.files import access_error, replacing


@dataclass(frozen=True, slots=True)
class Remembered:
    """What ``start`` leaves for the next ``process`` and ``stop``.

    Attributes:
        name: what the user calls it.
        accelerator: the function's name.
        provider: of the instance.
        instance_id: ``None`` for a node known by its address alone.
        instance_ip: the node's URL.
        config_file: the absolute path of the ``accelerator.conf`` that was read, if any.
    """

    name: str
    accelerator: str
    provider: str
    instance_id: str | None
    instance_ip: str
    config_file: str | None


def load() -> dict[str, Remembered]:
    """All remembered accelerators by name.

    Raises:
        StateError: the file is damaged.
        FileAccessError: it may not be read.
    """
    path = _file()
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {name: Remembered(**entry) for name, entry in entries.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise access_error("read", path, error) from error
    except (ValueError, TypeError, AttributeError):
        raise StateError(
            f"{str(path)!r} is damaged: delete it; acceleratorapi instances lists what still runs"
        ) from None


def find(name: str) -> Remembered:
    """The accelerator of that name.

    Raises:
        StateError: none was started under it.
    """
    known = load()
    if name not in known:
        raise StateError(f"no accelerator named {name!r} is started; {nearest(name, known)}")
    return known[name]


def check_free(name: str, known: Mapping[str, Remembered] | None = None) -> None:
    """See that no accelerator is remembered by that name.

    Raises:
        StateError: one is.
    """
    if name in (load() if known is None else known):
        raise StateError(f"{name!r} is started already: stop it first, or give another --name")


def remember(entry: Remembered) -> None:
    """Keep ``entry``.

    Raises:
        StateError: its name is taken.
        FileAccessError: the file may not be written.
    """
    with _changing() as entries:
        check_free(entry.name, entries)
        entries[entry.name] = entry


def forget(name: str) -> None:
    """Drop the entry of that name, if there is one."""
    with _changing() as entries:
        entries.pop(name, None)


def _file() -> Path:
    return state_folder() / "accelerators.json"


@contextlib.contextmanager
def _changing() -> Iterator[dict[str, Remembered]]:
    """The entries to change; they are stored at the block's end. One command at a time is in here."""
    path = _file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise access_error("write", path, error) from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        entries = load()
        yield entries
        text = json.dumps({name: asdict(entry) for name, entry in entries.items()}, indent=2)
        try:
            with replacing(path) as file:
                file.write(text.encode())
        except OSError as error:
            raise access_error("write", path, error) from error
    finally:
        os.close(folder)
