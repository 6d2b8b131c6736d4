"""The CPU driver for streams that cannot be cut beforehand: a producer runs ahead of the calling thread, which writes.

What the producer makes of the input is not here.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING

from acceleratorAPI.drivers.base import Measurement, Source, Target
from acceleratorAPI.drivers.cpu import BACKEND

if TYPE_CHECKING:
    from typing_extensions import Buffer

Pieces = Iterable["Buffer"]
Submit = Callable[[Callable[[], Pieces]], "Future[Pieces]"]

# Pieces that wait to be written, a thread: they bridge a moment in which the disk or the decoder is slow.
_WAITING = 4


class Producer(ABC):
    """Makes an output of an input, piece after piece."""

    @abstractmethod
    def pieces(self, source: Source, submit: Submit) -> Iterator[Buffer | Future[Pieces]]:
        """The output in order.

        Called on a thread of its own; ``source`` is read on no other. An error it raises reaches the caller of
        ``run_ahead`` when what came before it has been written.

        Args:
            source: the input.
            submit: runs a function on another core; the future stands for the pieces it gives.
        """


def run_ahead(producer: Producer, source: Source, target: Target, threads: int) -> Measurement:
    """Write what ``producer`` makes of ``source``, while it goes on; as many as ``threads`` functions run besides.

    Memory is bounded by the pieces that wait: at most four for a thread.

    Raises:
        BlockingIOError: source or target is in non-blocking mode.
    """
    run = _Run(producer, _MeteredSource(source), threads)
    try:
        return run.into(target)
    finally:
        run.close()


class _MeteredSource:
    """Counts, and remembers when the first bytes came."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.bytes_in = 0
        self.first_s: float | None = None

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._source.readinto(buffer)
        if count is None:
            raise BlockingIOError("the input is in non-blocking mode; open it in blocking mode")
        if self.first_s is None:
            self.first_s = time.perf_counter()
        self.bytes_in += count
        return count


class _Run:
    """One run: the producer's thread, the queue between the two, the other cores."""

    def __init__(self, producer: Producer, source: _MeteredSource, threads: int) -> None:
        self._producer = producer
        self._source = source
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="kernel")
        self._queue: SimpleQueue[Buffer | Future[Pieces] | BaseException | None] = SimpleQueue()
        self._room = threading.Semaphore(_WAITING * threads)
        self._stopped = False
        self._thread = threading.Thread(target=self._produce, name="producer")
        self._thread.start()

    def into(self, target: Target) -> Measurement:
        bytes_out = 0
        while (piece := self._queue.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            parts = piece.result() if isinstance(piece, Future) else (piece,)
            for part in parts:
                bytes_out += _write(target, part)
            self._room.release()
        ended = time.perf_counter()
        return Measurement(BACKEND, ended - (self._source.first_s or ended), self._source.bytes_in, bytes_out)

    def close(self) -> None:
        """End the producer at its next piece, and the other cores; what was not begun is dropped."""
        self._stopped = True
        self._room.release()
        self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _produce(self) -> None:
        try:
            for piece in self._producer.pieces(self._source, self._pool.submit):
                self._room.acquire()
                if self._stopped:
                    return
                self._queue.put(piece)
        except BaseException as error:  # noqa: BLE001 - raised again on the calling thread
            self._queue.put(error)
        else:
            self._queue.put(None)


def _write(target: Target, data: Buffer) -> int:
    rest = memoryview(data).cast("B")
    size_bytes = len(rest)
    while rest:
        count = target.write(rest)
        if not count:
            raise BlockingIOError("the output took nothing; open it in blocking mode")
        rest = rest[count:]
    return size_bytes
