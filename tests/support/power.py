"""T11: what a power failure leaves of a node's folder, from the record of its storage calls.

The model, stricter than any common file system: of a file, exactly what was written before its last ``fsync`` is
there, and of a folder the names as at its last ``fsync``. Variants keep more, as disks do by chance: all names
(``names``, where the file behind a new name may be empty), or also a random half of the 4 KiB pages written since
(``torn``). Changes of size count as writes. Not modelled: sectors that a disk acknowledged and lost.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from storage import Record

Variant = Literal["strict", "names", "torn"]
VARIANTS: tuple[Variant, ...] = ("strict", "names", "torn")
PAGE = 4096


@dataclass
class _File:
    now: bytearray = field(default_factory=bytearray)
    sure: bytes = b""

    def write(self, at: int, data: bytes) -> None:
        if len(self.now) < at:
            self.now.extend(bytes(at - len(self.now)))
        self.now[at : at + len(data)] = data

    def truncate(self, size: int) -> None:
        self.now[:] = self.now[:size].ljust(size, b"\0")

    def torn(self, chooser: random.Random) -> bytes:
        """The sure bytes with some of the pages written since, up to one of both sizes."""
        size = chooser.choice([len(self.sure), len(self.now)])
        found = bytearray(self.sure[:size].ljust(size, b"\0"))
        for at in range(0, size, PAGE):
            if chooser.random() < 0.5:
                page = self.now[at : min(at + PAGE, size)]
                found[at : at + len(page)] = page
        return bytes(found)


class Disk:
    """The folder as its processes see it, and as it would be after a power failure now."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._names: dict[str, _File] = {}
        self._sure_names: dict[str, _File] = {}

    def apply(self, record: Record) -> None:
        """One more call."""
        name = record.name
        if record.op == "create":
            # The number of a removed file may be used again.
            self._files[record.inode] = file = _File()
            if name:
                self._names[name] = file
        elif record.op == "rename":
            self._names[record.second] = self._names.pop(name)
        elif record.op == "link":
            self._names[name] = self._files[record.inode]
        elif record.op == "unlink":
            self._names.pop(name, None)
        elif record.op == "sync" and record.folder:
            inside = f"{name}/"
            for known in [*self._sure_names]:
                if known.startswith(inside) and "/" not in known[len(inside) :]:
                    del self._sure_names[known]
            for known, file in self._names.items():
                if known.startswith(inside) and "/" not in known[len(inside) :]:
                    self._sure_names[known] = file
        else:
            self._change(self._files[record.inode], record)

    @staticmethod
    def _change(file: _File, record: Record) -> None:
        if record.op == "write":
            file.write(record.at, record.data)
        elif record.op == "truncate":
            file.truncate(record.at)
        elif record.op == "reserve":
            file.truncate(max(record.at, len(file.now)))
        elif record.op == "sync":
            file.sure = bytes(file.now)

    def seen(self) -> dict[str, bytes]:
        """What the processes see."""
        return {name: bytes(file.now) for name, file in self._names.items()}

    def after_failure(self, variant: Variant, seed: int) -> dict[str, bytes]:
        """What is there when the machine comes up again."""
        chooser = random.Random(seed)
        if variant == "strict":
            return {name: file.sure for name, file in self._sure_names.items()}
        if variant == "names":
            return {name: file.sure for name, file in self._names.items()}
        return {name: file.torn(chooser) for name, file in self._names.items()}


def lay(files: dict[str, bytes], old: Path, new: Path, folders: Iterable[str]) -> None:
    """Write what a failure left of ``old`` below ``new``."""
    for folder in folders:
        (new / folder).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        place = new / Path(name).relative_to(old)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
