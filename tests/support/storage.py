"""The calls by which a node and its workers change files: counted, made to fail, written down (``storage_shim.c``)."""

from __future__ import annotations

import mmap
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SOURCE = Path(__file__).with_name("storage_shim.c")
_CONTROL = struct.Struct("=IiiiQQQ")
_RECORD = struct.Struct("=IIQQII")
_HOW = {"error": 1, "short": 2, "sync": 3}
_OPS = ("", "create", "write", "truncate", "sync", "rename", "unlink", "reserve", "link")

How = Literal["error", "short", "sync"]


@dataclass(frozen=True, slots=True)
class Record:
    """One call that was carried out.

    Attributes:
        op: what it was.
        inode: of the file.
        at: offset of what was written, or the new size.
        data: what was written.
        name: of the file, then.
        second: its new name.
        folder: it was a folder.
    """

    op: str
    inode: int
    at: int
    data: bytes
    name: str
    second: str
    folder: bool


class Storage:
    """The storage below one folder, of every process started with ``environment``."""

    def __init__(self, root: Path, work: Path, *, journal: bool = False) -> None:
        """Args:
        root: what is below it counts.
        work: for the library and its files.
        journal: write every call down.
        """
        self._library = work / "storage_shim.so"
        if not self._library.exists():
            command = ["cc", "-O2", "-fPIC", "-shared", "-o", str(self._library), str(SOURCE), "-ldl"]
            subprocess.run(command, check=True)
        control = work / "control"
        control.write_bytes(bytes(_CONTROL.size))
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), _CONTROL.size)
        self.journal = work / "journal"
        self.journal.write_bytes(b"")
        self.environment = {
            "LD_PRELOAD": str(self._library),
            "STORAGE_ROOT": str(root.resolve()),
            "STORAGE_CONTROL": str(control),
            **({"STORAGE_JOURNAL": str(self.journal)} if journal else {}),
        }

    @property
    def calls(self) -> int:
        """How many there were."""
        return int(_CONTROL.unpack(self._control)[4])

    @property
    def failed(self) -> int:
        """How many were made to fail."""
        return int(_CONTROL.unpack(self._control)[6])

    def fail(self, number: int, how: How, error: int) -> None:
        """Let the ``number``-th call from now on fail, or the next one after it that can fail so."""
        struct.pack_into("=ii", self._control, 4, _HOW[how], error)
        struct.pack_into("=Q", self._control, 24, self.calls + number)

    def forgive(self) -> None:
        """Let nothing fail that has not failed yet."""
        struct.pack_into("=Q", self._control, 24, 0)

    def close(self) -> None:
        """Let go of the control block."""
        self._control.close()

    def records(self) -> Iterator[Record]:
        """All that was written down, in its order."""
        with self.journal.open("rb") as file:
            while head := file.read(_RECORD.size):
                op, length, inode, at, second_length, folder = _RECORD.unpack(head)
                first, second = file.read(length), file.read(second_length).decode()
                wrote = _OPS[op] == "write"
                yield Record(_OPS[op], inode, at, first if wrote else b"", "" if wrote else first.decode(), second,
                             bool(folder))  # fmt: skip
