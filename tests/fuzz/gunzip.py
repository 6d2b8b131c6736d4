"""A gzip file given to ``cast_gunzip``."""

from __future__ import annotations

import gzip
import io
import zlib

from acceleratorAPI.errors import CorruptInputError
from acceleratorAPI.functions.base import NoParameters
from acceleratorAPI.functions.cast_gunzip import Gunzip

ALLOWED = (CorruptInputError,)
_PLAIN = gzip.compress(b"hello hello hello", mtime=0)
_MEMBERS = b"".join(gzip.compress(b"%d" % i * 50, mtime=0) for i in range(4))
# FEXTRA with a BGZF subfield that tells the member's size, FNAME, FCOMMENT and FHCRC.
_HEAD = b"\x1f\x8b\x08\x1e" + bytes(6) + b"\x06\x00BC\x02\x00\x1b\x00name\0comment\0"
SEEDS = (
    _PLAIN,
    _MEMBERS,
    _PLAIN + bytes(100),
    _PLAIN + b"trailing",
    _PLAIN[:-3],
    _HEAD + zlib.crc32(_HEAD).to_bytes(4, "little")[:2] + _PLAIN[10:],
    # An empty block of BGZF, its end of file.
    bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000") * 3,
    gzip.compress(bytes(200_000), mtime=0),
    # Empty members whose index claims 2 MiB.
    bytes.fromhex("1f8b08040000000000ff08004947040001002000030000000000000000 00".replace(" ", "")) * 3,
)


class _Sink:
    """Keeps the beginning of what is written."""

    def __init__(self) -> None:
        self.begin = bytearray()
        self.size_bytes = 0

    def write(self, data: memoryview, /) -> int:
        self.begin += bytes(data[: max(0, (1 << 20) - len(self.begin))])
        self.size_bytes += len(data)
        return len(data)


def run(data: bytes) -> None:
    """What comes out of the first member is what Python's zlib makes of it."""
    sink = _Sink()
    outcome = Gunzip(1).process(io.BytesIO(data), sink, NoParameters())
    assert outcome.measurement.bytes_out == sink.size_bytes
    first = zlib.decompressobj(31).decompress(data, 1 << 20)
    assert sink.begin.startswith(first)
