"""A stream of PPM, PGM, BMP and PNG images given to ``alse_jpegenc``."""

from __future__ import annotations

import io
import struct
import zlib

from acceleratorAPI.errors import InputError
from acceleratorAPI.functions.alse_jpegenc import JpegEncoder, JpegParameters

ALLOWED = (InputError,)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(colour: int, depth: int, row: bytes, *more: bytes) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + _chunk(b"IDAT", zlib.compress(row * 2)) + _chunk(b"IEND", b"")


def _bmp(bits: int, height: int, pixels: bytes, palette: bytes = b"") -> bytes:
    offset = 54 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, 2, height, 1, bits, 0, len(pixels), 0, 0, len(palette) // 4, 0)
    return struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset) + info + palette + pixels


_PPM = b"P6\n# comment\n2 2\n255\n" + bytes(range(12))
_PGM = b"P5 3 1 65535\n" + bytes(6)
SEEDS = (
    _PPM,
    _PGM + _PPM,
    _bmp(24, 2, bytes(16)),
    _bmp(8, -2, bytes(8), bytes(range(16))),
    _bmp(32, 2, bytes(16)),
    _png(2, 8, b"\0" + bytes(6)),
    _png(3, 8, b"\0\0\1", _chunk(b"PLTE", bytes(range(6)))),
    _png(0, 1, b"\0\xc0"),
    _png(6, 16, b"\2" + bytes(16)) + _PPM,
    b"P6 99999 99999 255\n",
    b"GIF89a",
)


class _Sink:
    def write(self, data: memoryview, /) -> int:
        return len(data)


def run(data: bytes) -> None:
    """Images of moderate size are encoded or refused."""
    JpegEncoder(1).process(io.BytesIO(data), _Sink(), JpegParameters(max_pixels=1 << 16))
