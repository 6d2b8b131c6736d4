"""An input on its way to the node: in pieces with checksums, going on where it stands after every cut."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

from crc32c import crc32c

from acceleratorAPI.client.retry import Backoff
from acceleratorAPI.client.transfer import Reader, read_into
from acceleratorAPI.errors import (
    AcceleratorError,
    InputError,
    IntegrityError,
    NodeBusyError,
    NodeUnreachableError,
    OffsetError,
)

if TYPE_CHECKING:
    from acceleratorAPI.client.node import NodeClient

# Large enough that the answer's way back costs little, small enough that sending one again costs little too.
PIECE_BYTES = 8 << 20


class Upload:
    """One upload. ``url`` is where it is, once ``begin`` has been called."""

    def __init__(
        self, node: NodeClient, reader: Reader, size_bytes: int | None, on_sent: Callable[[int], None]
    ) -> None:
        """Args:
        node: where to.
        reader: the input, at its start.
        size_bytes: of the input, ``None`` when it is not known.
        on_sent: told the bytes that are at the node; may raise to end it.
        """
        self.url = ""
        self._node = node
        self._reader = reader
        self._size_bytes = size_bytes
        self._on_sent = on_sent
        self._buffer = memoryview(
            bytearray(PIECE_BYTES if size_bytes is None else max(1, min(PIECE_BYTES, size_bytes)))
        )
        self._sent = 0
        self._backoff = Backoff()
        self.complete = False

    def begin(self) -> None:
        """Create it; a small input is sent along and is then complete."""
        piece = self._read() if self._size_bytes is not None and self._size_bytes <= PIECE_BYTES else self._buffer[:0]
        while True:
            try:
                self.url = self._node.create_upload(self._size_bytes, piece, _checksum(piece) if piece else None)
                break
            except AcceleratorError as error:
                self._backoff.wait(error)
        self._count(len(piece))
        self.complete = self._sent == self._size_bytes

    def finish(self) -> None:
        """Send all that is left.

        Raises:
            NotFoundError: the node does not want it any more: the job has ended.
            AcceleratorError: it cannot be sent.
        """
        while not self.complete:
            piece = self._read()
            self._send(piece)

    def _send(self, piece: memoryview) -> None:
        """One piece, until the node has it; the last is one shorter than a full one, or empty."""
        begin, end = self._sent, self._sent + len(piece)
        last = end == self._size_bytes if self._size_bytes is not None else len(piece) < len(self._buffer)
        checksum = _checksum(piece)
        stands = begin
        while stands == begin:
            try:
                self._node.add_to_upload(self.url, begin, piece, checksum, end if last else None)
                stands = end
                break
            except (NodeUnreachableError, NodeBusyError, IntegrityError, OffsetError) as error:
                self._backoff.wait(error)
                stands = self._stands()
        if stands == end:
            self._count(len(piece))
            self.complete = last
        else:
            # The node lost what it had, as its machine lost power: begin there again.
            self._sent = stands
            self._seek(stands)

    def _stands(self) -> int:
        while True:
            try:
                return self._node.upload_offset(self.url)[0]
            except AcceleratorError as error:
                self._backoff.wait(error)

    def _count(self, size: int) -> None:
        self._sent += size
        self._backoff.progress()
        self._on_sent(self._sent)

    def _seek(self, offset: int) -> None:
        seek = getattr(self._reader, "seek", None)
        if seek is None:
            raise InputError("the input cannot be read again from the place where the upload stands: send it anew")
        seek(offset)

    def _read(self) -> memoryview:
        """The next piece, full unless the input ends.

        Raises:
            FileAccessError: the input cannot be read.
            InputError: it is text, non-blocking or shorter than it was.
        """
        filled = 0
        wanted = len(self._buffer)
        if self._size_bytes is not None:
            wanted = min(wanted, self._size_bytes - self._sent)
        while filled < wanted:
            count = read_into(self._reader, self._buffer[filled:wanted])
            if not count:
                break
            filled += count
        if self._size_bytes is not None and filled < wanted:
            got = self._sent + filled
            raise InputError(f"the input shrank while it was read: {got} of {self._size_bytes} bytes")
        return self._buffer[:filled]


def _checksum(piece: memoryview) -> str:
    return "crc32c " + base64.b64encode(crc32c(piece).to_bytes(4, "big")).decode()
