"""A time of their own for processes (``clock_shim.c``)."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock_shim.c")


class Clock:
    """The time of every process started with ``environment``."""

    def __init__(self, work: Path) -> None:
        """Args:
        work: for the library and its file.
        """
        library = work / "clock_shim.so"
        subprocess.run(["cc", "-O2", "-fPIC", "-shared", "-o", str(library), str(SOURCE)], check=True)
        self._file = work / "clock"
        self._file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_FILE": str(self._file)}

    def set(self, ahead_s: int) -> None:
        """From now on it is so much later."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("=q", ahead_s))
