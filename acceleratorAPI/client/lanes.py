"""A file on its way to the node over several connections, nearly in order, so that the job can follow it.

Each lane sends the piece that comes next; the node keeps those that are ahead of where the upload stands.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from crc32c import crc32c

from acceleratorAPI.client.pace import PIECE_BYTES, Pace, checksum_field
from acceleratorAPI.client.retry import Backoff
from acceleratorAPI.client.transfer import Reader
from acceleratorAPI.errors import (
    FileAccessError,
    InputError,
    IntegrityError,
    NodeBusyError,
    NodeUnreachableError,
    NotFoundError,
    StateError,
)
from acceleratorAPI.protocol.joined import Joined

if TYPE_CHECKING:
    from acceleratorAPI.client.node import NodeClient, UploadState

_TELL_EVERY_S = 0.1


class Lanes:
    """The rest of one upload."""

    def __init__(self, node: NodeClient, url: str, reader: Reader, size_bytes: int, number: int) -> None:
        """Args:
        node: where to.
        url: of the upload.
        reader: a regular file.
        size_bytes: of the file.
        number: of connections.
        """
        self._node = node
        self._url = url
        self._descriptor: int = reader.fileno()  # type: ignore[attr-defined]  # of a regular file
        self._size_bytes = size_bytes
        self._number = number
        self._lock = threading.Lock()
        self._joined = Joined()
        self._pending: list[tuple[int, int]] = []
        # What an older epoch sent may be lost.
        self._epoch = 0
        self._stopped = False

    def send(self, stands: tuple[int, int], on_sent: Callable[[int], None]) -> int:
        """Send all there is from where the upload stands; the whole file's CRC32C.

        Args:
            stands: bytes the node has, and their CRC32C.
            on_sent: told how many it has, in the calling thread; may raise to end it.

        Raises:
            NotFoundError: the node does not want it any more: the job has ended.
            AcceleratorError: it cannot be sent.
        """
        self._begin_at(*stands)
        while self._joined.end < self._size_bytes:
            self._run(on_sent)
            try:
                state = self._state()
            except NotFoundError:
                # The job has read it all, and has ended.
                break
            if state.offset < self._size_bytes:
                self._begin_at(state.offset, state.crc32c or 0)
        return self._joined.crc32c

    def _run(self, on_sent: Callable[[int], None]) -> None:
        with ThreadPoolExecutor(self._number, thread_name_prefix="lane") as threads:
            lanes = {threads.submit(self._lane) for _ in range(self._number)}
            try:
                while lanes:
                    ended, lanes = wait(lanes, _TELL_EVERY_S, FIRST_COMPLETED)
                    for lane in ended:
                        lane.result()
                    on_sent(self._joined.end)
            except BaseException:
                self._stopped = True
                raise

    def _state(self) -> UploadState:
        backoff = Backoff(self._node.has_ended)
        while True:
            try:
                return self._node.upload_state(self._url)
            except (NodeUnreachableError, NodeBusyError) as error:
                backoff.wait(error)

    def _begin_at(self, offset: int, crc: int) -> None:
        self._joined = Joined(offset, crc)
        self._pending = [(offset, self._size_bytes - offset)]
        self._epoch += 1

    def _lane(self) -> None:
        buffer = memoryview(bytearray(PIECE_BYTES))
        backoff, pace = Backoff(self._node.has_ended), Pace()
        while not self._stopped:
            with self._lock:
                epoch, before = self._epoch, self._joined.end
                offset, size = self._take(pace.size_bytes)
            if not size:
                if before == self._size_bytes:
                    return
                # Another lane's piece may come back.
                time.sleep(_TELL_EVERY_S)
                continue
            piece = self._read(offset, buffer[:size])
            crc = crc32c(piece)
            began = time.monotonic()
            try:
                there = self._node.put_ahead(self._url, offset, piece, checksum_field(crc))
            except (NodeUnreachableError, NodeBusyError, IntegrityError) as error:
                self._give_back(epoch, offset, size)
                if isinstance(error, NodeUnreachableError):
                    pace.cut()
                backoff.wait(error)
                continue
            except StateError as error:
                # A request of ours that asked how far the upload is has ended this one.
                self._give_back(epoch, offset, size)
                backoff.wait(NodeBusyError(str(error)))
                continue
            backoff.progress()
            pace.took(size, time.monotonic() - began)
            self._count(epoch, before, there, (offset, size, crc))

    def _take(self, most: int) -> tuple[int, int]:
        if not self._pending:
            return 0, 0
        offset, size = heapq.heappop(self._pending)
        if size > most:
            heapq.heappush(self._pending, (offset + most, size - most))
        return offset, min(size, most)

    def _give_back(self, epoch: int, offset: int, size: int) -> None:
        with self._lock:
            if epoch == self._epoch:
                heapq.heappush(self._pending, (offset, size))

    def _count(self, epoch: int, before: int, there: int, piece: tuple[int, int, int]) -> None:
        """The node has a piece, and ``there`` bytes without a hole; ``before`` it had at least so many, it said."""
        state = self._state() if there < before else None
        with self._lock:
            if epoch != self._epoch:
                return
            self._joined.add(*piece)
            if state is not None and state.offset < self._joined.end:
                # It was restarted, and had not put down what was ahead.
                self._begin_at(state.offset, state.crc32c or 0)

    def _read(self, offset: int, into: memoryview) -> memoryview:
        filled = 0
        while filled < len(into):
            try:
                count = os.preadv(self._descriptor, [into[filled:]], offset + filled)
            except OSError as error:
                raise FileAccessError(f"cannot read the input: {error.strerror or error}") from error
            if not count:
                raise InputError(f"the input shrank while it was read: {offset + filled} of {self._size_bytes} bytes")
            filled += count
        return into
