"""Windows bitmaps: 24 and 32 bits a pixel, and 8 with a palette; uncompressed, bottom-up or top-down.

After Microsoft's description of BITMAPFILEHEADER, BITMAPCOREHEADER, BITMAPINFOHEADER, V4 and V5.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import override

from acceleratorAPI.functions.images.frame import BAND_BYTES, Buffers, Frame, Limits, check_size, look_up
from acceleratorAPI.functions.images.reader import Reader

if TYPE_CHECKING:
    from acceleratorAPI.functions.images.frame import Pixels

MAGIC = b"BM"
_FILE_HEADER_BYTES = 14
_CORE_BYTES = 12
# The core header of OS/2, then the Windows headers from Windows 3 to version 5, and OS/2's long one.
_HEADER_SIZES = (_CORE_BYTES, 40, 52, 56, 64, 108, 124)
_UNCOMPRESSED, _BITFIELDS, _ALPHA_BITFIELDS = 0, 3, 6
# The order of the bytes in memory that each set of masks for red, green and blue means.
_MASKS = {
    (0x00FF0000, 0x0000FF00, 0x000000FF): "BGRX",
    (0x000000FF, 0x0000FF00, 0x00FF0000): "RGBX",
    (0xFF000000, 0x00FF0000, 0x0000FF00): "XBGR",
    (0x0000FF00, 0x00FF0000, 0xFF000000): "XRGB",
}
# Some programs leave room before the pixels, and a colour profile may follow them.
_LARGEST_GAP = 1 << 20
_LARGEST_TRAILER = 16 << 20


@dataclass(slots=True)
class Bitmap(Frame):
    """A bitmap whose rows lie in ``data`` as in the file.

    Attributes:
        stride: bytes from row to row.
        top_down: the first row is the top one.
        channels: of 24 and 32 bits, what the bytes of a pixel are; of 8 bits, empty.
        palette: of 8 bits, blue, green and red of each colour.
    """

    stride: int
    top_down: bool
    channels: str
    palette: bytes

    @override
    def memory_bytes(self) -> int:
        return len(self.data) + (0 if self.channels else 3 * self.width * self.height)

    @override
    def unpack(self) -> tuple[Pixels, str]:
        import numpy as np

        rows = np.frombuffer(self.data, np.uint8).reshape(self.height, self.stride)
        if not self.top_down:
            _flip(rows)
        if self.channels:
            size = len(self.channels)
            return np.ndarray((self.height, self.width, size), np.uint8, self.data, 0, (self.stride, size, 1)), (
                self.channels
            )
        table = np.zeros((256, 3), np.uint8)
        table[: len(self.palette) // 3] = np.frombuffer(self.palette, np.uint8).reshape(-1, 3)
        indexes = rows[:, : self.width]
        grey = bool((table == table[:, :1]).all())
        if grey:
            table = table[:, :1]
        pixels = np.empty((self.height, self.width, table.shape[1]), np.uint8)
        look_up(table, indexes, pixels)
        return pixels, "GRAY" if grey else "BGR"


def _flip(rows: Pixels) -> None:
    """Turn the order of the rows, in place: the encoder wants the top row first."""
    height, stride = rows.shape
    step = max(1, BAND_BYTES // stride)
    for top in range(0, height // 2, step):
        count = min(step, height // 2 - top)
        upper, lower = rows[top : top + count], rows[height - top - count : height - top]
        kept = upper.copy()
        upper[:] = lower[::-1]
        lower[:] = kept[::-1]


@dataclass(slots=True)
class _Header:
    """What the two headers say, and where in the input they start."""

    start: int
    file_bytes: int
    pixel_offset: int
    size: int
    width: int
    height: int
    planes: int
    bits: int
    compression: int
    colours: int
    masks: tuple[int, int, int]

    @property
    def end(self) -> int:
        """Bytes from the start of the file to the palette."""
        loose_masks = self.size == 40 and self.compression in (_BITFIELDS, _ALPHA_BITFIELDS)
        return _FILE_HEADER_BYTES + self.size + ((12 if self.compression == _BITFIELDS else 16) if loose_masks else 0)

    @property
    def stride(self) -> int:
        """Bytes from row to row: a multiple of 4."""
        return (self.width * self.bits + 31) // 32 * 4

    @property
    def entry_bytes(self) -> int:
        """Of one colour of the palette."""
        return 3 if self.size == _CORE_BYTES else 4


def read(reader: Reader, limits: Limits, buffers: Buffers) -> Bitmap:
    """The bitmap that starts here.

    Raises:
        InputError: it is malformed, of a kind that is not taken, too large or cut off.
    """
    header = _read_header(reader)
    _check(reader, header, limits)
    taken = header.end
    palette = b""
    if header.bits == 8:
        entries = _palette(reader, header)
        taken += len(entries)
        palette = b"".join(entries[at : at + 3] for at in range(0, len(entries), header.entry_bytes))
    gap = header.pixel_offset - taken
    if not 0 <= gap <= _LARGEST_GAP:
        allowed = f"must be {taken} to {taken + _LARGEST_GAP}"
        raise reader.wrong("BMP offset of the pixels", header.pixel_offset, allowed, header.start + 10)
    skipped = reader.skip(gap)
    if skipped < gap:
        raise reader.cut_off("BMP gap before the pixels", gap, skipped)
    stride, height = header.stride, abs(header.height)
    data = buffers.take(stride * height)
    reader.fill(data, "BMP pixels")
    # What follows up to the size the header gives belongs to this image. That size is often 0, or too small.
    reader.skip(max(0, header.file_bytes - header.pixel_offset - len(data)))
    channels = {24: "BGR", 32: _MASKS.get(header.masks, "")}.get(header.bits, "")
    return Bitmap(reader.frame, header.start, header.width, height, data, stride, header.height < 0, channels, palette)


def _read_header(reader: Reader) -> _Header:
    start = reader.offset
    first = reader.take(_FILE_HEADER_BYTES + 4, "BMP header")
    file_bytes, pixel_offset, size = struct.unpack_from("<2xI4xII", first)
    if size not in _HEADER_SIZES:
        allowed = f"must be one of {', '.join(map(str, _HEADER_SIZES))}"
        raise reader.wrong("BMP header size", size, allowed, start + 14)
    rest = reader.take(size - 4, "BMP header")
    if size == _CORE_BYTES:
        width, height, planes, bits = struct.unpack("<HHHH", rest)
        compression = colours = 0
    else:
        width, height, planes, bits, compression, colours = struct.unpack_from("<iiHHI12xI", rest)
    masks = (0x00FF0000, 0x0000FF00, 0x000000FF)
    if compression in (_BITFIELDS, _ALPHA_BITFIELDS) and size != 64:
        if size == 40:
            rest += reader.take(12 if compression == _BITFIELDS else 16, "BMP colour masks")
        masks = struct.unpack_from("<III", rest, 36)
    return _Header(start, file_bytes, pixel_offset, size, width, height, planes, bits, compression, colours, masks)


def _check(reader: Reader, header: _Header, limits: Limits) -> None:
    """Refuse what cannot be read, before any memory is taken for it."""
    start, core = header.start, header.size == _CORE_BYTES
    height_at = start + (20 if core else 22)
    check_size(reader, limits, "BMP", header.width, abs(header.height), (start + 18, height_at))
    if header.planes != 1:
        raise reader.wrong("BMP planes", header.planes, "must be 1", start + (22 if core else 26))
    if header.bits not in (8, 24, 32):
        raise reader.wrong("BMP bits a pixel", header.bits, "must be 8, 24 or 32", start + (24 if core else 28))
    fields = header.bits == 32 and header.size != 64
    if not (header.compression == _UNCOMPRESSED or (fields and header.compression in (_BITFIELDS, _ALPHA_BITFIELDS))):
        allowed = "must be 0 (none), or with 32 bits a pixel 3 (masks)"
        raise reader.wrong("BMP compression", header.compression, allowed, start + 30)
    largest = header.pixel_offset + abs(header.height) * header.stride + _LARGEST_TRAILER
    if header.file_bytes > largest:
        raise reader.wrong("BMP file size", header.file_bytes, f"must be 0 to {largest}", start + 2)
    if header.masks not in _MASKS:
        shown = " ".join(f"{mask:08x}" for mask in header.masks)
        raise reader.wrong("BMP colour masks", shown, "each must cover one byte", start + 54)


def _palette(reader: Reader, header: _Header) -> bytes:
    colours = header.colours or 256
    if colours > 256:
        raise reader.wrong("BMP colours used", colours, "must be 0 to 256", header.start + 46)
    if header.colours == 0:
        # A short palette without a count is common: it ends where the pixels start.
        room = max(0, header.pixel_offset - header.end) // header.entry_bytes
        colours = min(colours, room)
    return reader.take(colours * header.entry_bytes, "BMP palette")
