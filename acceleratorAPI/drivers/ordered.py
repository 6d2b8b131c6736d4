"""What the pipelines of the CPU driver share: a counted input, and work done on threads and written in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

from acceleratorAPI.drivers.base import Source, Target

if TYPE_CHECKING:
    from typing_extensions import Buffer

NoteT = TypeVar("NoteT")


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

    def read_some(self, buffer: memoryview) -> int:
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
            count = self.read_some(buffer[filled:])
            if count == 0:
                break
            filled += count
        return filled


class OrderedWork(Generic[NoteT]):
    """Computes on ``threads`` threads and writes the outputs in the order in which the work was submitted.

    All methods are for the one thread that made the object. The first error of work or target is raised as it is.

    Attributes:
        bytes_out: bytes written so far.
    """

    def __init__(self, target: Target, threads: int) -> None:
        self._target = target
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="kernel")
        self._flying: deque[tuple[Future[tuple[Buffer, NoteT]], Callable[[NoteT], None]]] = deque()
        self.bytes_out = 0

    def __len__(self) -> int:
        """How much work is submitted and not yet written."""
        return len(self._flying)

    def submit(self, work: Callable[[], tuple[Buffer, NoteT]], written: Callable[[NoteT], None]) -> None:
        """Queue ``work``, which runs on another thread; call ``written`` with its note once its output is written."""
        self._flying.append((self._pool.submit(work), written))

    def finish_done(self) -> None:
        """Write what can be written without waiting."""
        while self._flying and self._flying[0][0].done():
            self.finish_oldest()

    def finish_oldest(self) -> None:
        """Wait for the oldest work and write its output."""
        future, written = self._flying.popleft()
        output, note = future.result()
        self.write(output)
        written(note)

    def finish_all(self) -> None:
        """Wait for everything and write it."""
        while self._flying:
            self.finish_oldest()

    def write(self, data: Buffer) -> None:
        """Write the whole of ``data`` now.

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

    def close(self) -> None:
        """End the threads; work not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)
