"""The two ends of a run: its input and its output, counted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from acceleratorAPI.drivers.base import Source, Target

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Intake:
    """A source with its bytes counted; without one, the input is empty.

    Attributes:
        bytes_in: bytes read so far.
        started: ``time.perf_counter()`` when the first bytes came, or the end of the input; ``None`` before.
    """

    def __init__(self, source: Source | None) -> None:
        self._source = source
        self.bytes_in = 0
        self.started: float | None = None

    def readinto(self, buffer: memoryview, /) -> int:
        """Put what is there into ``buffer``; the number of bytes, 0 only at the end of the input.

        Raises:
            BlockingIOError: the source is in non-blocking mode.
        """
        count = 0 if self._source is None else self._source.readinto(buffer)
        if count is None:
            raise BlockingIOError("the input is in non-blocking mode; open it in blocking mode")
        if self.started is None:
            self.started = time.perf_counter()
        self.bytes_in += count
        return count

    def fill(self, buffer: memoryview) -> int:
        """Put as much input as fits into ``buffer``; less than all of it only at the end of the input."""
        filled = 0
        while filled < len(buffer):
            count = self.readinto(buffer[filled:])
            if count == 0:
                break
            filled += count
        return filled


class Outlet:
    """A target with its bytes counted, that takes all it is given.

    Attributes:
        bytes_out: bytes written so far.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.bytes_out = 0

    def write(self, data: Buffer) -> None:
        """Write the whole of ``data``.

        Raises:
            BlockingIOError: the target is in non-blocking mode.
        """
        rest = memoryview(data).cast("B")
        while rest:
            count = self._target.write(rest)
            if not count:
                raise BlockingIOError("the output took nothing; open it in blocking mode")
            self.bytes_out += count
            rest = rest[count:]
