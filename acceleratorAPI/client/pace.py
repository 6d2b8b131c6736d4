"""What a line bears: how large a piece of an upload may be, and how many connections help."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

# Large enough that the answer's way back costs little, small enough that sending one again costs little too.
PIECE_BYTES = 8 << 20
FIRST_BYTES = 1 << 20
_LEAST_BYTES = 64 << 10
_QUICK_S = 1.0
_SLOW_S = 10.0

# One connection fills the line between programs of one machine, but not one with a delay or a limit per connection.
_SEVERAL_BYTES = 256 << 20
_SEVERAL = 4


def connections(url: str, size_bytes: int, wanted: int | None) -> int:
    """How many to use at once for so many bytes to or from the node at ``url``; ``wanted`` when it is said."""
    if wanted is not None:
        return wanted if size_bytes > PIECE_BYTES else 1
    host = urlsplit(url).hostname or ""
    loopback = host == "localhost" or host.startswith("127.") or host == "::1"
    return _SEVERAL if size_bytes > _SEVERAL_BYTES and not loopback else 1


class Pace:
    """The size of the next piece: a cut, or an answer that is long in coming, is to cost little.

    Attributes:
        size_bytes: at most ``PIECE_BYTES``.
    """

    def __init__(self) -> None:
        self.size_bytes = FIRST_BYTES

    def took(self, size: int, seconds: float) -> None:
        """A piece of ``size`` bytes was there after so long."""
        if seconds > _SLOW_S:
            self.cut()
        elif seconds < _QUICK_S and size >= self.size_bytes:
            self.size_bytes = min(PIECE_BYTES, 2 * self.size_bytes)

    def cut(self) -> int:
        """One was not; the size of the next."""
        self.size_bytes = max(_LEAST_BYTES, self.size_bytes // 2)
        return self.size_bytes


def checksum_field(crc32c: int) -> str:
    """A piece's ``Upload-Checksum``."""
    return f"crc32c {base64.b64encode(crc32c.to_bytes(4, 'big')).decode()}"
