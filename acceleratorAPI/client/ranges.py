"""The rest of an output that is complete, over several connections, each taking the range that comes next."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from crc32c import crc32c

from acceleratorAPI.client.retry import Backoff
from acceleratorAPI.client.transfer import CHUNK_BYTES
from acceleratorAPI.errors import NodeBusyError, NodeError, NodeUnreachableError
from acceleratorAPI.protocol.joined import Joined

if TYPE_CHECKING:
    from acceleratorAPI.client.node import NodeClient

RANGE_BYTES = 32 << 20
_TELL_EVERY_S = 0.1


class Ranges:
    """What is missing of one output."""

    def __init__(self, node: NodeClient, job_id: str, descriptor: int, size_bytes: int, joined: Joined) -> None:
        """Args:
        node: where from.
        job_id: whose output.
        descriptor: of the file that takes it.
        size_bytes: of all of it.
        joined: what is there.
        """
        self._node = node
        self._job_id = job_id
        self._descriptor = descriptor
        self._size_bytes = size_bytes
        self._joined = joined
        self._next = joined.end
        self._lock = threading.Lock()
        self._stopped = False

    def take(self, number: int, tell: Callable[[int], None]) -> None:
        """Take it all.

        Args:
            number: of connections.
            tell: told up to where nothing is missing, in the calling thread; may raise to end it.

        Raises:
            NodeError: it cannot be had.
        """
        with ThreadPoolExecutor(number, thread_name_prefix="range") as threads:
            lanes = {threads.submit(self._lane) for _ in range(number)}
            try:
                while lanes:
                    ended, lanes = wait(lanes, _TELL_EVERY_S, FIRST_COMPLETED)
                    for lane in ended:
                        lane.result()
                    tell(self._joined.end)
            finally:
                self._stopped = True

    def _lane(self) -> None:
        backoff = Backoff(self._node.has_ended)
        while not self._stopped:
            with self._lock:
                begin = self._next
                end = self._next = min(begin + RANGE_BYTES, self._size_bytes)
            if begin == end:
                return
            self._range(begin, end, backoff)

    def _range(self, begin: int, end: int, backoff: Backoff) -> None:
        at, crc = begin, 0
        while at < end and not self._stopped:
            try:
                with self._node.result(self._job_id, at, end) as answer:
                    while at < end and (chunk := answer.read(min(CHUNK_BYTES, end - at), decode_content=False)):
                        _write_at(self._descriptor, chunk, at)
                        crc = crc32c(chunk, crc)
                        at += len(chunk)
                        backoff.progress()
                        if self._stopped:
                            raise NodeError("nobody wants the rest")
                if at < end:
                    raise NodeUnreachableError(f"the node sent {at - begin} bytes of a range of {end - begin}")
            except (NodeUnreachableError, NodeBusyError) as error:
                backoff.wait(error)
        with self._lock:
            if at == end:
                self._joined.add(begin, end - begin, crc)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count
