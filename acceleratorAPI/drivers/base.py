"""What every driver reads from and writes to, and what it measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


class Source(Protocol):
    """Where the input comes from: a file, a growing file, a socket."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the start of ``buffer``; the number of bytes, 0 at the end of the input."""


class Target(Protocol):
    """Where the output goes."""

    def write(self, data: memoryview, /) -> int | None:
        """Write some of ``data``; the number of bytes taken."""


@runtime_checkable
class RoomyTarget(Protocol):
    """A target that knows how much it can take."""

    def expect(self, size_bytes: int) -> None:
        """Raise the error of a full target when it cannot take ``size_bytes``. Reserves nothing."""


def expect(target: Target, size_bytes: int) -> None:
    """Say how large the output will be, before anything is written, to a target that wants to know."""
    if isinstance(target, RoomyTarget):
        target.expect(size_bytes)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run of a driver did. ``bytes_in + bytes_out`` over ``kernel_s`` is its bandwidth.

    Attributes:
        backend: the driver's name; FPGA-named figures are only ever made from an FPGA's.
        kernel_s: seconds from the first input byte to the last output byte.
        bytes_in: bytes the function read.
        bytes_out: bytes the function wrote.
    """

    backend: str
    kernel_s: float
    bytes_in: int
    bytes_out: int
