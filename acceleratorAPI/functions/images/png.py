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

from acceleratorAPI.functions.images.frame import BAND_BYTES, Frame, Limits, UnpackError, check_size
from acceleratorAPI.functions.images.reader import Reader

if TYPE_CHECKING:
    from PIL.Image import Image

    from acceleratorAPI.functions.images.frame import Pixels

MAGIC = b"\x89PNG\r\n\x1a\n"
# By colour type: samples a pixel, the depths allowed, and the bytes of memory a pixel takes to unpack: what Pillow
# holds (four for colours and for grey with alpha, two for grey of 16 bits, else one) and what is made of it.
_COLOUR_TYPES = {
    0: (1, (1, 2, 4, 8, 16), 2 + 1),
    2: (3, (8, 16), 4 + 3),
    3: (1, (1, 2, 4, 8), 1 + 3),
    4: (2, (8, 16), 4 + 1),
    6: (4, (8, 16), 4 + 3),
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
    """A PNG whose critical chunks are in ``data``.

    Attributes:
        file: what ``data`` is the memory of.
        pixel_bytes: a pixel takes to unpack.
    """

    pooled: ClassVar[bool] = False
    file: io.BytesIO
    pixel_bytes: int

    @override
    def memory_bytes(self) -> int:
        return len(self.data) + self.pixel_bytes * self.width * self.height

    @override
    def unpack(self) -> tuple[Pixels, str]:
        from PIL import PngImagePlugin

        self.file.seek(0)
        try:
            # The class itself, not Image.open: the size was checked, and Pillow's own limit is one of the process.
            with PngImagePlugin.PngImageFile(self.file) as image:
                image.load()
                return _pixels(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise UnpackError(f"PNG data: {error}") from error


def _pixels(image: Image) -> tuple[Pixels, str]:
    """In bands of rows: Pillow copies what it converts, and again what it gives to NumPy."""
    import numpy as np

    wide = image.mode in ("I;16", "I")
    grey = wide or image.mode in ("1", "L", "LA")
    pixels = np.empty((image.height, image.width, 1 if grey else 3), np.uint8)
    step = max(1, BAND_BYTES // (4 * image.width))
    for top in range(0, image.height, step):
        band = image.crop((0, top, image.width, min(top + step, image.height)))
        samples = np.asarray(band) >> 8 if wide else np.asarray(band.convert("L" if grey else "RGB"))
        pixels[top : top + step] = samples.reshape(-1, *pixels.shape[1:])
    return pixels, "GRAY" if grey else "RGB"


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
    file = io.BytesIO()
    file.write(reader.take(len(MAGIC), "PNG signature"))
    width, height, allowed_bytes, pixel_bytes = _read_ihdr(reader, limits, file)
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
        if file.tell() + chunk.size_bytes > allowed_bytes:
            allowed = f"more than {width} x {height} pixels take: {allowed_bytes} bytes in all"
            raise reader.wrong(f"PNG {chunk.name} length", chunk.size_bytes, allowed, chunk.start)
        _keep(reader, chunk, file)
    return PngImage(reader.frame, start, width, height, file.getbuffer(), file, pixel_bytes)


def _read_ihdr(reader: Reader, limits: Limits, file: io.BytesIO) -> tuple[int, int, int, int]:
    """Width, height, how many bytes the critical chunks may have, and how many a pixel takes to unpack."""
    chunk = _next_chunk(reader)
    if (chunk.kind, chunk.size_bytes) != (b"IHDR", 13):
        value = f"{chunk.name!r} of {chunk.size_bytes} bytes"
        raise reader.wrong("PNG first chunk", value, "must be IHDR of 13 bytes", chunk.start)
    _keep(reader, chunk, file)
    width, height, depth, colour, compression, filters, interlace = struct.unpack(">IIBBBBB", file.getvalue()[-17:-4])
    at = chunk.start + 8
    check_size(reader, limits, "PNG", width, height, (at, at + 4))
    if colour not in _COLOUR_TYPES:
        raise reader.wrong("PNG colour type", colour, "must be 0, 2, 3, 4 or 6", at + 9)
    samples, depths, pixel_bytes = _COLOUR_TYPES[colour]
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
    return width, height, 2 * raw_bytes + _SLACK_BYTES, pixel_bytes


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


def _keep(reader: Reader, chunk: _Chunk, file: io.BytesIO) -> None:
    """Append the chunk to ``file`` as it comes, so that a length costs no memory before its bytes are there."""
    crc32 = isal_zlib.crc32(chunk.kind)
    file.write(struct.pack(">I4s", chunk.size_bytes, chunk.kind))
    left = chunk.size_bytes
    while left:
        step = memoryview(bytearray(min(left, _STEP_BYTES)))
        reader.fill(step, f"PNG {chunk.name}")
        crc32 = isal_zlib.crc32(step, crc32)
        file.write(step)
        left -= len(step)
    stored = reader.take(4, f"PNG {chunk.name} CRC")
    if int.from_bytes(stored, "big") != crc32:
        raise reader.wrong(f"PNG {chunk.name} CRC", stored.hex(), f"must be {crc32:08x}", chunk.start)
    file.write(stored)
