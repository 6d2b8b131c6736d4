"""The CPU driver: ordered pipelines that cut a stream into blocks or pieces and run a kernel on several cores.

The calling thread reads and writes, worker threads compute. Memory is bounded by what is in flight, whatever
the size of the stream. Blocks have one size; pieces are cut by their kernel. What a kernel does is not here.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from acceleratorAPI.drivers.base import Measurement, Source, Target
from acceleratorAPI.drivers.ordered import Intake, OrderedWork

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

        Called on the calling thread for every block but the last.

        Returns:
            A position after ``start``; the rest of the window goes to the next block.
        """
        return len(window)

    @abstractmethod
    def run(self, window: memoryview, start: int) -> tuple[Buffer, NoteT]:
        """The output of the region ``window[start:]``, and a note for ``collect``.

        Called on worker threads, for several blocks at once; releases the GIL while it computes.
        """

    def plan(self, window: memoryview, start: int) -> Callable[[], tuple[Buffer, NoteT]]:
        """What a worker thread is to call for the region ``window[start:]``: ``run``.

        Override it to look at every region in the order of the input, on the calling thread, before it is run.
        """
        return partial(self.run, window, start)

    def collect(self, note: NoteT) -> None:
        """Take the note of a block. Called on the calling thread, in the order of the input."""

    def tail(self) -> bytes:
        """What stands in the output after the last block. Called when every note has been collected."""
        return b""


def run_blocks(kernel: BlockKernel[NoteT], source: Source, target: Target, threads: int) -> Measurement:
    """Run ``kernel`` over the whole of ``source`` on ``threads`` cores, in order.

    The first error of source, kernel or target ends the run and is raised as it is.

    Raises:
        BlockingIOError: source or target is in non-blocking mode.
    """
    pipeline = _Pipeline(kernel, source, target, threads)
    try:
        return pipeline.run()
    finally:
        pipeline.close()


class _Pipeline(Generic[NoteT]):
    """One run over blocks: its buffers and what is in flight."""

    def __init__(self, kernel: BlockKernel[NoteT], source: Source, target: Target, threads: int) -> None:
        self._kernel = kernel
        self._intake = Intake(source)
        self._work: OrderedWork[NoteT] = OrderedWork(target, threads)
        # Two blocks a thread keep the cores busy while the oldest is written; one more is being read.
        self._unused = threads * 2 + 1
        self._free: list[memoryview] = []

    def run(self) -> Measurement:
        self._work.write(self._kernel.head())
        kept, start, last = b"", 0, False
        while not last:
            buffer = self._take_buffer()
            window = buffer[: start + self._kernel.block_size]
            window[: len(kept)] = kept
            filled = len(kept) + self._intake.fill(window[len(kept) :])
            last = filled < len(window)
            stop = filled if last else self._cut(window, start)
            behind = max(0, stop - self._kernel.lookbehind)
            kept = bytes(window[behind:filled])
            if stop > start:
                self._work.submit(self._kernel.plan(window[:stop], start), partial(self._written, buffer))
            start = stop - behind
            self._work.finish_done()
        self._work.finish_all()
        self._work.write(self._kernel.tail())
        ended = time.perf_counter()
        kernel_s = ended - (ended if self._intake.started is None else self._intake.started)
        return Measurement(BACKEND, kernel_s, self._intake.bytes_in, self._work.bytes_out)

    def close(self) -> None:
        """End the workers; blocks not begun are dropped."""
        self._work.close()

    def _take_buffer(self) -> memoryview:
        while not self._free:
            if self._unused:
                self._unused -= 1
                return memoryview(bytearray(self._kernel.lookbehind + self._kernel.block_size))
            self._work.finish_oldest()
        return self._free.pop()

    def _cut(self, buffer: memoryview, start: int) -> int:
        stop = self._kernel.cut(buffer, start)
        if not start < stop <= len(buffer):
            raise ValueError(f"{type(self._kernel).__name__}.cut gave {stop}, not in {start + 1}..{len(buffer)}")
        return stop

    def _written(self, buffer: memoryview, note: NoteT) -> None:
        self._free.append(buffer)
        self._kernel.collect(note)


class PieceKernel(ABC, Generic[PieceT]):
    """Native code that works on pieces of any size (an image, say), which it cuts from the input itself.

    Attributes:
        held_bytes: the next piece is only asked for while those in flight hold less.
    """

    held_bytes: int = 64 << 20

    @abstractmethod
    def pieces(self, intake: Intake) -> Iterator[PieceT]:
        """Read the input and give its pieces one after the other. Runs on the calling thread."""

    @abstractmethod
    def size_bytes(self, piece: PieceT) -> int:
        """The memory ``piece`` needs until it is written."""

    @abstractmethod
    def run(self, piece: PieceT) -> Buffer:
        """The output of ``piece``. Called on worker threads, for several pieces at once; releases the GIL."""

    def written(self, piece: PieceT) -> None:
        """Take back what ``piece`` holds. Called on the calling thread, in order, after its output was written."""


def run_pieces(kernel: PieceKernel[PieceT], source: Source | None, target: Target, threads: int) -> Measurement:
    """Run ``kernel`` over the pieces of ``source`` on ``threads`` cores, in order.

    At most two pieces a thread are in flight, and no more than ``held_bytes`` and one piece.
    The first error of source, kernel or target ends the run and is raised as it is.

    Raises:
        BlockingIOError: source or target is in non-blocking mode.
    """
    begun = time.perf_counter()
    intake = Intake(source)
    work: OrderedWork[PieceT] = OrderedWork(target, threads)
    held_bytes = 0

    def written(piece: PieceT) -> None:
        nonlocal held_bytes
        held_bytes -= kernel.size_bytes(piece)
        kernel.written(piece)

    try:
        for piece in kernel.pieces(intake):
            held_bytes += kernel.size_bytes(piece)
            work.submit(partial(_run_piece, kernel, piece), written)
            work.finish_done()
            while len(work) >= 2 * threads or (work and held_bytes >= kernel.held_bytes):
                work.finish_oldest()
        work.finish_all()
    finally:
        work.close()
    started = begun if intake.started is None else intake.started
    return Measurement(BACKEND, time.perf_counter() - started, intake.bytes_in, work.bytes_out)


def _run_piece(kernel: PieceKernel[PieceT], piece: PieceT) -> tuple[Buffer, PieceT]:
    return kernel.run(piece), piece
