"""The CPU driver: an ordered pipeline that cuts a stream into blocks and runs a kernel on several cores.

The calling thread reads and writes, worker threads compute. Memory is bounded by the number of blocks in
flight, whatever the size of the stream. What a kernel does to a block is not here.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from acceleratorAPI.drivers.base import Measurement, Source, Target

if TYPE_CHECKING:
    from typing_extensions import Buffer

BACKEND = "cpu"

NoteT = TypeVar("NoteT")


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
    """One run: its buffers, the blocks in flight, and the counters."""

    def __init__(self, kernel: BlockKernel[NoteT], source: Source, target: Target, threads: int) -> None:
        self._kernel = kernel
        self._source = source
        self._target = target
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="kernel")
        # Two blocks a thread keep the cores busy while the oldest is written; one more is being read.
        self._unused = threads * 2 + 1
        self._free: list[memoryview] = []
        self._flying: deque[tuple[memoryview, Future[tuple[Buffer, NoteT]]]] = deque()
        self._started: float | None = None
        self._bytes_in = 0
        self._bytes_out = 0

    def run(self) -> Measurement:
        self._write(self._kernel.head())
        kept, start, last = b"", 0, False
        while not last:
            buffer = self._take_buffer()
            window = buffer[: start + self._kernel.block_size]
            filled = self._fill(window, kept)
            last = filled < len(window)
            stop = filled if last else self._cut(window, start)
            behind = max(0, stop - self._kernel.lookbehind)
            kept = bytes(window[behind:filled])
            if stop > start:
                self._flying.append((buffer, self._pool.submit(self._kernel.plan(window[:stop], start))))
            start = stop - behind
            while self._flying and self._flying[0][1].done():
                self._finish_oldest()
        while self._flying:
            self._finish_oldest()
        self._write(self._kernel.tail())
        ended = time.perf_counter()
        kernel_s = ended - (ended if self._started is None else self._started)
        return Measurement(BACKEND, kernel_s, self._bytes_in, self._bytes_out)

    def close(self) -> None:
        """End the workers; blocks not begun are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _take_buffer(self) -> memoryview:
        while not self._free:
            if self._unused:
                self._unused -= 1
                return memoryview(bytearray(self._kernel.lookbehind + self._kernel.block_size))
            self._finish_oldest()
        return self._free.pop()

    def _fill(self, buffer: memoryview, kept: bytes) -> int:
        """Put ``kept`` and as much new input as fits into ``buffer``; less than all of it at the end of the input."""
        filled = len(kept)
        buffer[:filled] = kept
        while filled < len(buffer):
            count = self._source.readinto(buffer[filled:])
            if count is None:
                raise BlockingIOError("the input is in non-blocking mode; open it in blocking mode")
            if self._started is None:
                self._started = time.perf_counter()
            if count == 0:
                break
            filled += count
            self._bytes_in += count
        return filled

    def _cut(self, buffer: memoryview, start: int) -> int:
        stop = self._kernel.cut(buffer, start)
        if not start < stop <= len(buffer):
            raise ValueError(f"{type(self._kernel).__name__}.cut gave {stop}, not in {start + 1}..{len(buffer)}")
        return stop

    def _finish_oldest(self) -> None:
        buffer, future = self._flying.popleft()
        output, note = future.result()
        self._free.append(buffer)
        self._kernel.collect(note)
        self._write(output)

    def _write(self, data: Buffer) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            count = self._target.write(rest)
            if not count:
                raise BlockingIOError("the output took nothing; open it in blocking mode")
            self._bytes_out += count
            rest = rest[count:]
