"""Processes whose wall clock is wrong, and can be set while they run (``clock_shim.c``)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock_shim.c")


class WrongClock:
    """The wall clock of every process started with ``environment``."""

    def __init__(self, folder: Path) -> None:
        """Make the library in ``folder``; the clock is right so far."""
        self.file = folder / "clock-offset"
        self._library = folder / "clock_shim.so"
        command = compile_command(self._library, SOURCE, self.file)
        subprocess.run(command, check=True)

    def environment(self) -> dict[str, str]:
        """For a process of this clock."""
        return {"LD_PRELOAD": str(self._library)}

    def set(self, seconds: int) -> None:
        """From now on it is so many seconds ahead; negative: behind."""
        set_clock(self.file, seconds)


def set_clock(file: Path, seconds: int) -> None:
    """Write the offset: whole, for it is read at any moment."""
    new = file.with_suffix(".new")
    new.write_text(str(seconds), encoding="ascii")
    os.replace(new, file)


def compile_command(library: Path, source: Path, offset_file: Path) -> list[str]:
    """What makes the library."""
    return ["cc", "-O1", "-fPIC", "-shared", f'-DOFFSET_FILE="{offset_file}"', "-o", str(library), str(source)]
