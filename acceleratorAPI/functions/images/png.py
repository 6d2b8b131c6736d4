"""PNG images: their chunks are checked and counted here before Pillow, and with it zlib, sees the critical ones.

After the W3C's "Portable Network Graphics (PNG) Specification".
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from isal import isal_zlib
from typing_extensions import override

from acceleratorAPI.functions.images.frame import Frame, Limits, UnpackError, check_size
from acceleratorAPI.functions.images.reader import Reader

if TYPE_CHECKING:
    from acceleratorAPI.functions.images.frame import Pixels

MAGIC = b"\x89PNG\r\n\x1a\n"
# Samples a pixel and the depths allowed, by colour type.
_COLOUR_TYPES = {
    0: (1, (1, 2, 4, 8, 16)),
    2: (3, (8, 16)),
    3: (1, (1, 2, 4, 8)),
    4: (2, (8, 16)),
    6: (4, (8, 16)),
}
_LARGEST_CHUNK = (1 << 31) - 1
# Chunks other than these change nothing that a JPEG keeps; profiles and texts are passed over unread.
_KEPT = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_LARGEST_PALETTE = 3 * 256
# Stored deflate blocks and small chunks add to the rows; an honest encoder never doubles them.
_SLACK_BYTES = 64 << 10
_STEP_BYTES = 1 << 20


@dataclass(slots=True)
class PngImage(Frame):
    """A PNG whose critical chunks are in ``data``."""

    pooled: ClassVar[bool] = False

    @override
    def memory_bytes(self) -> int:
        # Pillow holds up to four bytes a pixel; the array is made beside it.
        return len(self.data) + 8 * self.width * self.height

    @override
    def unpack(self) -> tuple[Pixels, str]:
        import numpy as np
        from PIL import PngImagePlugin

        try:
            # The class itself, not Image.open: the size was checked, and Pillow's own limit is one of the process.
            with PngImagePlugin.PngImageFile(io.BytesIO(self.data)) as image:
                image.load()
                if image.mode in ("I;16", "I"):
                    return (np.asarray(image) >> 8).astype(np.uint8)[:, :, np.newaxis], "GRAY"
                grey = image.mode in ("1", "L", "LA")
                pixels = np.asarray(image.convert("L" if grey else "RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise UnpackError(f"PNG data: {error}") from error
        return (pixels[:, :, np.newaxis], "GRAY") if grey else (pixels, "RGB")


@dataclass(slots=True)
class _Chunk:
    """The head of a chunk and where it starts."""

    start: int
    size_bytes: int
    kind: bytes

    @property
    def name(self) -> str:
        return self.kind.decode("latin-1")


def read(reader: Reader, limits: Limits) -> PngImage:
    """The PNG that starts here.

    Raises:
        InputError: it is malformed, too large or cut off.
    """
    start = reader.offset
    data = bytearray(reader.take(len(MAGIC), "PNG signature"))
    width, height, allowed_bytes = _read_ihdr(reader, limits, data)
    kind = b"IHDR"
    while kind != b"IEND":
        chunk = _next_chunk(reader)
        kind = chunk.kind
        if kind not in _KEPT:
            _pass_over(reader, chunk)
            continue
        if kind == b"IHDR":
            raise reader.wrong("PNG chunk", "IHDR", "there is one already", chunk.start)
        if kind == b"PLTE" and chunk.size_bytes > _LARGEST_PALETTE:
            raise reader.wrong("PNG PLTE length", chunk.size_bytes, f"must be 3 to {_LARGEST_PALETTE}", chunk.start)
        if len(data) + chunk.size_bytes > allowed_bytes:
            allowed = f"more than {width} x {height} pixels take: {allowed_bytes} bytes in all"
            raise reader.wrong(f"PNG {chunk.name} length", chunk.size_bytes, allowed, chunk.start)
        _keep(reader, chunk, data)
    return PngImage(reader.frame, start, width, height, memoryview(data))


def _read_ihdr(reader: Reader, limits: Limits, data: bytearray) -> tuple[int, int, int]:
    """Width, height, and how many bytes the critical chunks may have."""
    chunk = _next_chunk(reader)
    if (chunk.kind, chunk.size_bytes) != (b"IHDR", 13):
        value = f"{chunk.name!r} of {chunk.size_bytes} bytes"
        raise reader.wrong("PNG first chunk", value, "must be IHDR of 13 bytes", chunk.start)
    _keep(reader, chunk, data)
    width, height, depth, colour, compression, filters, interlace = struct.unpack(">IIBBBBB", data[-17:-4])
    at = chunk.start + 8
    check_size(reader, limits, "PNG", width, height, (at, at + 4))
    if colour not in _COLOUR_TYPES:
        raise reader.wrong("PNG colour type", colour, "must be 0, 2, 3, 4 or 6", at + 9)
    samples, depths = _COLOUR_TYPES[colour]
    if depth not in depths:
        allowed = f"must be {', '.join(map(str, depths))} with colour type {colour}"
        raise reader.wrong("PNG bit depth", depth, allowed, at + 8)
    for place, (name, value, most) in enumerate(
        (("compression", compression, 0), ("filter", filters, 0), ("interlace", interlace, 1))
    ):
        if value > most:
            raise reader.wrong(
                f"PNG {name} method", value, f"must be {'0' if most == 0 else '0 or 1'}", at + 10 + place
            )
    # Interlacing adds at most a filter byte a row and pass.
    raw_bytes = height * (1 + (width * samples * depth + 7) // 8) + (7 * (width + height) if interlace else 0)
    return width, height, 2 * raw_bytes + _SLACK_BYTES


def _next_chunk(reader: Reader) -> _Chunk:
    start = reader.offset
    size_bytes, kind = struct.unpack(">I4s", reader.take(8, "PNG chunk"))
    if size_bytes > _LARGEST_CHUNK or not kind.isalpha():
        allowed = f"must be letters, of at most {_LARGEST_CHUNK} bytes"
        raise reader.wrong("PNG chunk", f"{kind!r} of {size_bytes} bytes", allowed, start)
    return _Chunk(start, size_bytes, kind)


def _pass_over(reader: Reader, chunk: _Chunk) -> None:
    if chunk.kind[0:1].isupper():
        raise reader.wrong("PNG chunk", chunk.name, "no such critical chunk is known", chunk.start)
    skipped = reader.skip(chunk.size_bytes + 4)
    if skipped < chunk.size_bytes + 4:
        raise reader.cut_off(f"PNG {chunk.name}", chunk.size_bytes + 4, skipped)


def _keep(reader: Reader, chunk: _Chunk, data: bytearray) -> None:
    """Append the chunk to ``data`` as it comes, so that a length costs no memory before its bytes are there."""
    crc32 = isal_zlib.crc32(chunk.kind)
    data += struct.pack(">I4s", chunk.size_bytes, chunk.kind)
    left = chunk.size_bytes
    while left:
        step = memoryview(bytearray(min(left, _STEP_BYTES)))
        reader.fill(step, f"PNG {chunk.name}")
        crc32 = isal_zlib.crc32(step, crc32)
        data += step
        left -= len(step)
    stored = reader.take(4, f"PNG {chunk.name} CRC")
    if int.from_bytes(stored, "big") != crc32:
        raise reader.wrong(f"PNG {chunk.name} CRC", stored.hex(), f"must be {crc32:08x}", chunk.start)
    data += stored
