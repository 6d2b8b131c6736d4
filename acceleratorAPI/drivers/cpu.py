"""The CPU driver: ordered pipelines that cut a stream into blocks or pieces and run a kernel on several cores.

Memory is bounded by what is in flight, whatever the size of the stream. Blocks have one size; pieces are cut by their
kernel. What a kernel does is not here.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from typing_extensions import override

from acceleratorAPI.drivers.base import Measurement, Source, Target
from acceleratorAPI.drivers.ends import Intake, Outlet
from acceleratorAPI.drivers.turns import Turns

if TYPE_CHECKING:
    from typing_extensions import Buffer

BACKEND = "cpu"

NoteT = TypeVar("NoteT")
PieceT = TypeVar("PieceT")


class BlockKernel(ABC, Generic[NoteT]):
    """Native code that works on one block at a time, and what it needs to know of its neighbours.

    Attributes:
        block_size: bytes of a region, the part of the input that one ``run`` works on; at least 1.
        lookbehind: bytes of the input before the region that ``run`` also sees.
    """

    block_size: int
    lookbehind: int = 0

    def head(self) -> bytes:
        """What stands in the output before the first block."""
        return b""

    def cut(self, window: memoryview, start: int) -> int:
        """Where the region that begins at ``start`` may end, so that ``run`` need not see what follows.

        Called for every block but the last, in the order of the input, on one thread at a time.

        Returns:
            A position after ``start``; the rest of the window goes to the next block.
        """
        return len(window)

    @abstractmethod
    def run(self, window: memoryview, start: int) -> tuple[Buffer, NoteT]:
        """The output of the region ``window[start:]``, and a note for ``collect``.

        Called for several blocks at once; releases the GIL while it computes.
        """

    def plan(self, window: memoryview, start: int) -> Callable[[], tuple[Buffer, NoteT]]:
        """What is to be called for the region ``window[start:]``: ``run``.

        Override it to look at every region in the order of the input, on one thread at a time, before it is run.
        """
        return partial(self.run, window, start)

    def collect(self, note: NoteT) -> None:
        """Take the note of a block. Called on one thread at a time, in the order of the input."""

    def tail(self) -> bytes:
        """What stands in the output after the last block. Called when every note has been collected."""
        return b""


def run_blocks(kernel: BlockKernel[NoteT], source: Source, target: Target, threads: int) -> Measurement:
    """Run ``kernel`` over the whole of ``source`` on ``threads`` cores, in order.

    The first error of source, kernel or target, in the order of the input, ends the run and is raised as it is.

    Raises:
        BlockingIOError: source or target is in non-blocking mode.
    """
    begun = time.perf_counter()
    intake, outlet = Intake(source), Outlet(target)
    outlet.write(kernel.head())
    _Blocks(kernel, intake, outlet).run(threads)
    outlet.write(kernel.tail())
    return _measured(begun, intake, outlet)


def _measured(begun: float, intake: Intake, outlet: Outlet) -> Measurement:
    started = begun if intake.started is None else intake.started
    return Measurement(BACKEND, time.perf_counter() - started, intake.bytes_in, outlet.bytes_out)


@dataclass(frozen=True, slots=True)
class _Block(Generic[NoteT]):
    """A block between being read and being written: its memory, and what is to be run on it."""

    buffer: memoryview
    run: Callable[[], tuple[Buffer, NoteT]]


class _Blocks(Turns[_Block[NoteT], "tuple[Buffer, NoteT]"]):
    """One run over blocks."""

    def __init__(self, kernel: BlockKernel[NoteT], intake: Intake, outlet: Outlet) -> None:
        super().__init__()
        self._kernel = kernel
        self._intake = intake
        self._outlet = outlet
        self._free: list[memoryview] = []
        # What the next window begins with: bytes that were read already, and how many of them are only looked back at.
        self._kept = b""
        self._start = 0

    @override
    def take(self) -> _Block[NoteT] | None:
        kept, start = self._kept, self._start
        buffer = self._free.pop() if self._free else self._new_buffer()
        window = buffer[: start + self._kernel.block_size]
        window[: len(kept)] = kept
        filled = len(kept) + self._intake.fill(window[len(kept) :])
        self.last = filled < len(window)
        stop = filled if self.last else self._cut(window, start)
        if stop == start:
            return None
        behind = max(0, stop - self._kernel.lookbehind)
        self._kept, self._start = bytes(window[behind:filled]), stop - behind
        return _Block(buffer, self._kernel.plan(window[:stop], start))

    @override
    def compute(self, work: _Block[NoteT]) -> tuple[Buffer, NoteT]:
        return work.run()

    @override
    def give(self, work: _Block[NoteT], result: tuple[Buffer, NoteT]) -> None:
        output, note = result
        self._outlet.write(output)
        self._kernel.collect(note)

    @override
    def leave(self, work: _Block[NoteT]) -> None:
        self._free.append(work.buffer)

    def _new_buffer(self) -> memoryview:
        return memoryview(bytearray(self._kernel.lookbehind + self._kernel.block_size))

    def _cut(self, window: memoryview, start: int) -> int:
        stop = self._kernel.cut(window, start)
        if not start < stop <= len(window):
            raise ValueError(f"{type(self._kernel).__name__}.cut gave {stop}, not in {start + 1}..{len(window)}")
        return stop


class PieceKernel(ABC, Generic[PieceT]):
    """Native code that works on pieces of any size (an image, say), which it cuts from the input itself.

    Attributes:
        held_bytes: the next piece is only asked for while those in flight hold less.
    """

    held_bytes: int = 64 << 20

    @abstractmethod
    def pieces(self, intake: Intake) -> Iterator[PieceT]:
        """Read the input and give its pieces one after the other. Runs on one thread at a time."""

    @abstractmethod
    def size_bytes(self, piece: PieceT) -> int:
        """The memory ``piece`` needs until it is written."""

    @abstractmethod
    def run(self, piece: PieceT) -> Buffer:
        """The output of ``piece``. Called for several pieces at once; releases the GIL."""

    def written(self, piece: PieceT) -> None:
        """Take back what ``piece`` holds. Called on one thread at a time, in order, after its output was written."""


def run_pieces(kernel: PieceKernel[PieceT], source: Source | None, target: Target, threads: int) -> Measurement:
    """Run ``kernel`` over the pieces of ``source`` on ``threads`` cores, in order.

    At most one piece a thread is in flight, and no more than ``held_bytes`` and one piece.
    The first error of source, kernel or target, in the order of the input, ends the run and is raised as it is.

    Raises:
        BlockingIOError: source or target is in non-blocking mode.
    """
    begun = time.perf_counter()
    intake, outlet = Intake(source), Outlet(target)
    _Pieces(kernel, intake, outlet).run(threads)
    return _measured(begun, intake, outlet)


class _Pieces(Turns[PieceT, "Buffer"]):
    """One run over pieces."""

    def __init__(self, kernel: PieceKernel[PieceT], intake: Intake, outlet: Outlet) -> None:
        super().__init__()
        self._kernel = kernel
        self._outlet = outlet
        self._pieces = kernel.pieces(intake)
        self._held_bytes = 0
        self._less_held = threading.Condition()

    @override
    def take(self) -> PieceT | None:
        with self._less_held:
            self._less_held.wait_for(lambda: not self._held_bytes or self._held_bytes < self._kernel.held_bytes)
        piece = next(self._pieces, None)
        if piece is not None:
            with self._less_held:
                self._held_bytes += self._kernel.size_bytes(piece)
        return piece

    @override
    def compute(self, work: PieceT) -> Buffer:
        return self._kernel.run(work)

    @override
    def give(self, work: PieceT, result: Buffer) -> None:
        self._outlet.write(result)
        self._kernel.written(work)

    @override
    def leave(self, work: PieceT) -> None:
        with self._less_held:
            self._held_bytes -= self._kernel.size_bytes(work)
            self._less_held.notify()
