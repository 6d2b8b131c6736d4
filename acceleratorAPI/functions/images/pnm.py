"""Portable graymaps and pixmaps in their binary forms, P5 and P6 of Netpbm, one sample in one or two bytes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import override

from acceleratorAPI.functions.images.frame import Buffers, Frame, Limits, check_size, look_up
from acceleratorAPI.functions.images.reader import WINDOW_BYTES, Reader

if TYPE_CHECKING:
    from acceleratorAPI.functions.images.frame import Pixels

MAGICS = (b"P5", b"P6")
# Each part begins with a byte that no other may begin with, so that nothing is tried twice.
_SPACE = rb"(?:[ \t\n\v\f\r]|#[^\n\r]*[\n\r])+"
_HEADER = re.compile(rb"P[56]" + (_SPACE + rb"([0-9]{1,10})") * 3 + rb"[ \t\n\v\f\r]")


@dataclass(slots=True)
class Anymap(Frame):
    """A graymap or pixmap.

    Attributes:
        channels: ``GRAY`` or ``RGB``.
        maxval: the sample that stands for white.
    """

    channels: str
    maxval: int

    @override
    def memory_bytes(self) -> int:
        return len(self.data)

    @override
    def unpack(self) -> tuple[Pixels, str]:
        import numpy as np

        shape = (self.height, self.width, _samples(self.channels))
        pixels = np.frombuffer(self.data, np.uint8, math.prod(shape))
        if self.maxval != 255:
            wide = self.maxval > 255
            values = np.arange(65536 if wide else 256, dtype=np.uint32)
            # To the nearest of 0 to 255; samples above maxval are white.
            scaled = (values.clip(max=self.maxval) * 255 + self.maxval // 2) // self.maxval
            look_up(scaled.astype(np.uint8), np.frombuffer(self.data, ">u2" if wide else np.uint8), pixels)
        return pixels.reshape(shape), self.channels


def _samples(channels: str) -> int:
    return 1 if channels == "GRAY" else 3


def read(reader: Reader, limits: Limits, buffers: Buffers) -> Anymap:
    """The graymap or pixmap that starts here.

    Raises:
        InputError: it is malformed, too large or cut off.
    """
    start = reader.offset
    while not (header := _HEADER.match(reader.seen)):
        if not reader.more():
            seen = reader.seen
            shown = repr(seen[:40])[1:] + (" ..." if len(seen) > 40 else "")
            what = "must be P5 or P6, width, height and maxval as decimal numbers"
            raise reader.wrong("PNM header", shown, f"{what}, within {WINDOW_BYTES} bytes")
    width, height, maxval = (int(number) for number in header.groups())
    channels = "GRAY" if reader.seen[1:2] == b"5" else "RGB"
    check_size(reader, limits, "PNM", width, height, (start + header.start(1), start + header.start(2)))
    if not 1 <= maxval <= 65535:
        raise reader.wrong("PNM maxval", maxval, "must be 1 to 65535", start + header.start(3))
    reader.skip(header.end())
    data = buffers.take(width * height * _samples(channels) * (2 if maxval > 255 else 1))
    reader.fill(data, "PNM pixels")
    return Anymap(reader.frame, start, width, height, data, channels, maxval)
