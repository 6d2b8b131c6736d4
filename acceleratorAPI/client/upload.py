"""An input on its way to the node: in pieces with checksums, going on where it stands after every cut."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from crc32c import crc32c

from acceleratorAPI.client.lanes import Lanes
from acceleratorAPI.client.pace import FIRST_BYTES, PIECE_BYTES, Pace, checksum_field
from acceleratorAPI.client.retry import Backoff
from acceleratorAPI.client.transfer import Reader, read_into
from acceleratorAPI.errors import (
    AcceleratorError,
    InputError,
    IntegrityError,
    NodeBusyError,
    NodeUnreachableError,
    NotFoundError,
    OffsetError,
)

if TYPE_CHECKING:
    from acceleratorAPI.client.node import NodeClient

# A slow source's bytes wait no longer than this for more to make a piece with: its job is to go on.
LINGER_S = 1.0


class Upload:
    """One upload.

    Attributes:
        url: where it is, once ``begin`` or ``take_up`` has been called.
        crc32c: of what the node has.
        complete: it has all.
    """

    def __init__(
        self,
        node: NodeClient,
        reader: Reader,
        size_bytes: int | None,
        on_sent: Callable[[int], None],
        connections: int = 1,
    ) -> None:
        """Args:
        node: where to.
        reader: the input, at its start.
        size_bytes: of the input, ``None`` when it is not known.
        on_sent: told the bytes that are at the node; may raise to end it.
        connections: how many at once, for a regular file.
        """
        self.url = ""
        self.crc32c = 0
        self.complete = False
        self._node = node
        self._reader = reader
        self._size_bytes = size_bytes
        self._on_sent = on_sent
        self._connections = connections
        room = PIECE_BYTES if size_bytes is None else max(1, min(PIECE_BYTES, size_bytes))
        self._buffer = memoryview(bytearray(room))
        self._sent = 0
        self._ended = False
        self._pace = Pace()
        self._backoff = Backoff(node.has_ended)

    def begin(self) -> None:
        """Create it; a small input is sent along and is then complete."""
        small = self._size_bytes is not None and self._size_bytes <= PIECE_BYTES
        piece = self._read(PIECE_BYTES) if small else self._buffer[:0]
        sent = piece
        while True:
            try:
                self.url = self._node.create_upload(self._size_bytes, sent, _checksum(sent) if sent else None)
                break
            except AcceleratorError as error:
                self._backoff.wait(error)
                if len(piece) > FIRST_BYTES:
                    # Less may get through where all did not.
                    sent = piece[:0]
        self._count(sent, last=len(sent) == self._size_bytes)
        if len(sent) < len(piece):
            self._ended = False
            self._seek(0)

    def take_up(self, url: str) -> bool:
        """Go on with an upload begun by another process, if its bytes are those of this input; whether it is so.

        Raises:
            NodeUnreachableError: the node cannot be asked.
        """
        try:
            there = self._node.upload_state(url)
        except NotFoundError:
            return False
        if self._size_bytes is None or there.offset > self._size_bytes:
            return False
        if crc32c_of_start(self._reader, there.offset) != (there.crc32c or 0):
            return False
        self.url, self._sent, self.crc32c = url, there.offset, there.crc32c or 0
        self.complete = there.offset == self._size_bytes
        self._on_sent(self._sent)
        return True

    def finish(self) -> None:
        """Send all that is left.

        Raises:
            NotFoundError: the node does not want it any more: the job has ended.
            AcceleratorError: it cannot be sent.
        """
        if self._connections > 1 and self._size_bytes is not None and self._size_bytes - self._sent > PIECE_BYTES:
            lanes = Lanes(self._node, self.url, self._reader, self._size_bytes, self._connections)
            self.crc32c = lanes.send((self._sent, self.crc32c), self._on_sent)
            self._sent, self.complete = self._size_bytes, True
        while not self.complete:
            self._send(self._read(self._pace.size_bytes))

    def _send(self, piece: memoryview) -> None:
        """One piece, until the node has it."""
        begin, end = self._sent, self._sent + len(piece)
        checksum = _checksum(piece)
        stands = begin
        while stands == begin:
            began = time.monotonic()
            try:
                self._node.add_to_upload(self.url, begin, piece, checksum, end if self._ended else None)
                self._pace.took(len(piece), time.monotonic() - began)
                stands = end
                break
            except (NodeUnreachableError, NodeBusyError, IntegrityError, OffsetError) as error:
                self._backoff.wait(error)
                stands = self._stands()
                smaller = isinstance(error, NodeUnreachableError) and self._pace.cut() < len(piece)
                if smaller and stands == begin and hasattr(self._reader, "seek"):
                    # What is too much for this line at once goes in parts.
                    break
        if stands == end:
            self._count(piece, last=self._ended)
        else:
            # It goes in parts; or the node lost what it had, as its machine lost power: begin there again.
            self._rewind(stands)

    def _rewind(self, offset: int) -> None:
        self._ended = False
        self._seek(offset)
        if offset != self._sent:
            self.crc32c = crc32c_of_start(self._reader, offset) or 0
        self._sent = offset

    def _stands(self) -> int:
        while True:
            try:
                return self._node.upload_state(self.url).offset
            except AcceleratorError as error:
                self._backoff.wait(error)

    def _count(self, piece: memoryview, *, last: bool) -> None:
        self._sent += len(piece)
        self.crc32c = crc32c(piece, self.crc32c)
        self.complete = last
        self._backoff.progress()
        self._on_sent(self._sent)

    def _seek(self, offset: int) -> None:
        seek = getattr(self._reader, "seek", None)
        if seek is None:
            raise InputError("the input cannot be read again from the place where the upload stands: send it anew")
        seek(offset)

    def _read(self, most: int) -> memoryview:
        """The next piece.

        Raises:
            FileAccessError: the input cannot be read.
            InputError: it is text, non-blocking or shorter than it was.
        """
        filled = 0
        wanted = min(most, len(self._buffer))
        if self._size_bytes is not None:
            wanted = min(wanted, self._size_bytes - self._sent)
        due = time.monotonic() + LINGER_S
        while filled < wanted and not self._ended:
            # Of an unknown length, as of a pipe: what is there now, not what there will be one day.
            count = read_into(self._reader, self._buffer[filled:wanted], soon=self._size_bytes is None)
            self._ended = not count
            filled += count
            if self._size_bytes is None and time.monotonic() >= due:
                break
        if self._size_bytes is not None:
            if filled < wanted:
                got = self._sent + filled
                raise InputError(f"the input shrank while it was read: {got} of {self._size_bytes} bytes")
            self._ended = self._sent + filled == self._size_bytes
        return self._buffer[:filled]


def crc32c_of_start(reader: Reader, size: int) -> int | None:
    """The CRC32C of an input's first ``size`` bytes, which are read again; ``None`` when it has fewer.

    The reader then stands behind them.
    """
    reader.seek(0)  # type: ignore[attr-defined]  # only asked of those that can
    crc = 0
    while size:
        part = reader.read(min(size, 1 << 20))
        if not part:
            return None
        crc = crc32c(part, crc)
        size -= len(part)
    return crc


def _checksum(piece: memoryview) -> str:
    return checksum_field(crc32c(piece))
