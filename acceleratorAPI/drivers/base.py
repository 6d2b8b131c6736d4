"""What every driver reads from and writes to, and what it measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


class Source(Protocol):
    """Where the input comes from: a file, a growing file, a socket."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the start of ``buffer``; the number of bytes, 0 at the end of the input."""


class FolderSource(Source, Protocol):
    """A folder as a tar stream (POSIX ustar, pax headers where they are needed), whose end is two zero blocks."""

    @property
    def entries(self) -> int:
        """How many files, folders and links there were so far."""

    def normalise(self) -> None:
        """Drop what differs between two copies of the folder: times, owners, all mode bits but "executable".

        Call it before the first read.
        """

    def omit_end(self) -> None:
        """Leave out the two zero blocks, so that more members can follow. Call it before the first read."""


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
