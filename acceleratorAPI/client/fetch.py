"""A job's output on its way to the user: taken while it grows, from where it stands after every cut, and summed up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from crc32c import crc32c

from acceleratorAPI.client.retry import Backoff
from acceleratorAPI.client.transfer import CHUNK_BYTES, Output, write_all
from acceleratorAPI.errors import AcceleratorError, IntegrityError, NodeError, NodeUnreachableError
from acceleratorAPI.protocol.records import JobRecord

if TYPE_CHECKING:
    from acceleratorAPI.client.node import NodeClient


class Fetch:
    """One output.

    Attributes:
        received: bytes written to the target.
        crc32c: of these.
    """

    def __init__(self, node: NodeClient, job_id: str, target: Output, on_received: Callable[[int], None]) -> None:
        """Args:
        node: where from.
        job_id: whose output.
        target: where to.
        on_received: told the bytes there are; may raise to end it.
        """
        self._node = node
        self._job_id = job_id
        self._target = target
        self._on_received = on_received
        self.received = 0
        self.crc32c = 0

    def run(self) -> JobRecord:
        """Take it all; the job's record, which has ended well.

        Raises:
            JobError: the job failed.
            NodeError: the output is not what the node made, or cannot be had.
        """
        backoff = Backoff()
        while True:
            before = self.received
            try:
                self._stream()
                record = self._node.job(self._job_id, 30)
                while not record.ended:
                    record = self._node.job(self._job_id, 30)
                break
            except AcceleratorError as error:
                if self.received > before:
                    backoff.progress()
                if isinstance(error, NodeUnreachableError):
                    self._see_why(error, backoff)
                else:
                    backoff.wait(error)
        # Not tried again: what is written cannot be taken back.
        self._check(record)
        return record

    def _see_why(self, cut: NodeUnreachableError, backoff: Backoff) -> None:
        """Wait for the next try, unless what cut the stream is that the job failed."""
        while True:
            backoff.wait(cut)
            try:
                self._node.job(self._job_id, 0)
                return
            except NodeUnreachableError as error:
                cut = error

    def _stream(self) -> None:
        with self._node.result(self._job_id, self.received) as answer:
            while chunk := answer.read(CHUNK_BYTES, decode_content=False):
                write_all(self._target, chunk)
                self.crc32c = crc32c(chunk, self.crc32c)
                self.received += len(chunk)
                self._on_received(self.received)

    def _check(self, record: JobRecord) -> None:
        result = record.result
        if result is None:
            raise NodeError(f"job {record.id} ended well, but its result is gone")
        if self.received != result.size_bytes:
            raise NodeError(f"the node sent {self.received} bytes of a result of {result.size_bytes}")
        if result.crc32c is not None and int(result.crc32c, 16) != self.crc32c:
            raise IntegrityError(
                f"the result's bytes changed on their way (CRC32C {self.crc32c:08x}, not {result.crc32c}): try again"
            )
