"""A job's output on its way to the user: taken while it grows, from where it stands after every cut, and summed up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crc32c import crc32c

from acceleratorAPI.client.ranges import Ranges
from acceleratorAPI.client.retry import Backoff
from acceleratorAPI.client.transfer import CHUNK_BYTES, Output, write_all
from acceleratorAPI.errors import AcceleratorError, IntegrityError, NodeError, NodeUnreachableError, NotFoundError
from acceleratorAPI.protocol.joined import Joined
from acceleratorAPI.protocol.records import JobRecord

if TYPE_CHECKING:
    from acceleratorAPI.client.node import NodeClient

# A stream that lived so long was cut for its silence, if at all: the function gives nothing yet.
QUIET_S = 20.0


@dataclass(frozen=True, slots=True)
class Sink:
    """Where an output goes.

    Attributes:
        target: takes the bytes.
        begin: bytes that are there already, and their CRC32C.
        empty: throws away what is there, to begin again; ``None`` when that cannot be done.
        descriptor: of a regular file that may be written in several places at once.
        sure: told, then, up to where nothing is missing.
    """

    target: Output
    begin: tuple[int, int] = (0, 0)
    empty: Callable[[], None] | None = None
    descriptor: int | None = None
    sure: Callable[[int], None] = lambda _: None


class Fetch:
    """One output.

    Attributes:
        received: bytes written to the target.
        crc32c: of these.
        record: the job's, once somebody knows that it has ended; then the rest may come over several connections.
    """

    def __init__(
        self,
        node: NodeClient,
        job_id: str,
        sink: Sink,
        on_received: Callable[[int], None],
        connections: Callable[[int], int] = lambda _: 1,
    ) -> None:
        """Args:
        node: where from.
        job_id: whose output.
        sink: where to.
        on_received: told the bytes there are; may raise to end it.
        connections: how many to use at once for so many bytes.
        """
        self._node = node
        self._job_id = job_id
        self._sink = sink
        self._on_received = on_received
        self._connections = connections if sink.descriptor is not None else lambda _: 1
        self.received, self.crc32c = sink.begin
        self.record: JobRecord | None = None

    def run(self) -> JobRecord:
        """Take it all; the job's record, which has ended well.

        Raises:
            JobError: the job failed.
            NodeError: the output is not what the node made, or cannot be had.
        """
        record = self._take_all()
        try:
            self._check(record)
        except NodeError:
            # Bytes change on their way, or lay here from an earlier try: they are asked for once more.
            if self._sink.empty is None:
                raise
            self._sink.empty()
            self.received = self.crc32c = 0
            record = self._take_all()
            self._check(record)
        return record

    def _take_all(self) -> JobRecord:
        backoff = Backoff(self._node.has_ended)
        while True:
            before, began = self.received, time.monotonic()
            try:
                self._stream()
                if self.record is not None and self._several(self.record):
                    self._take_ranges(self.record)
                record = self._node.job(self._job_id, 30)
                while not record.ended:
                    record = self._node.job(self._job_id, 30)
                return record
            except AcceleratorError as error:
                if self.received > before or time.monotonic() - began >= QUIET_S:
                    backoff.progress()
                self._on_received(self.received)
                if isinstance(error, NotFoundError):
                    # A job that has failed has no output, and says why.
                    self._node.job(self._job_id, 0)
                    raise
                if isinstance(error, NodeUnreachableError):
                    self._see_why(error, backoff)
                else:
                    backoff.wait(error)

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
        if self.record is not None and self._several(self.record):
            return
        with self._node.result(self._job_id, self.received) as answer:
            while chunk := answer.read(CHUNK_BYTES, decode_content=False):
                write_all(self._sink.target, chunk)
                self.crc32c = crc32c(chunk, self.crc32c)
                self.received += len(chunk)
                self._on_received(self.received)
                if self.record is not None and self._several(self.record):
                    answer.close()
                    return

    def _several(self, record: JobRecord) -> int:
        """How many connections are worth it for what is left, 0 for one."""
        left = record.result.size_bytes - self.received if record.result is not None else 0
        connections = self._connections(left)
        return connections if connections > 1 else 0

    def _take_ranges(self, record: JobRecord) -> None:
        assert record.result is not None
        assert self._sink.descriptor is not None
        joined = Joined(self.received, self.crc32c)
        ranges = Ranges(self._node, self._job_id, self._sink.descriptor, record.result.size_bytes, joined)

        def tell(end: int) -> None:
            self.received, self.crc32c = joined.end, joined.crc32c
            self._sink.sure(end)
            self._on_received(end)

        try:
            ranges.take(self._several(record), tell)
        finally:
            # The first bytes that are missing are where a later try begins.
            self.received, self.crc32c = joined.end, joined.crc32c

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
