"""One image of a stream, as its reader leaves it: pixels as they stand in the input, unpacked on a worker thread."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from acceleratorAPI.functions.images.reader import Reader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

LARGEST_SIDE = 65_500
# What is worked on at a time: a few of them fit the cache of a core.
BAND_BYTES = 128 << 10


@dataclass(frozen=True, slots=True)
class Limits:
    """What an image may be at most.

    Attributes:
        max_pixels: of one image; its memory follows from it.
    """

    max_pixels: int


class UnpackError(Exception):
    """The data of a frame contradict its header."""


@dataclass(slots=True)
class Frame(ABC):
    """One image.

    Attributes:
        number: in the stream, from 1.
        offset: of its first byte in the input.
        width: in pixels.
        height: in pixels.
        data: the bytes read.
        pooled: whether ``data`` came from ``Buffers``.
    """

    pooled: ClassVar[bool] = True
    number: int
    offset: int
    width: int
    height: int
    data: memoryview

    @abstractmethod
    def memory_bytes(self) -> int:
        """What the frame takes until it is encoded, its unpacked pixels included."""

    @abstractmethod
    def unpack(self) -> tuple[Pixels, str]:
        """The pixels, top row first, as rows x columns x channels, and what the channels are (``BGR``, ``GRAY``).

        ``data`` may be used up by it. Releases the GIL where it works.

        Raises:
            UnpackError: the data contradict the header.
        """


def check_size(reader: Reader, limits: Limits, image: str, width: int, height: int, at: tuple[int, int]) -> None:
    """Refuse an image that is empty or too large, before any memory is taken for it.

    Args:
        reader: which gives the error its place.
        limits: what is allowed.
        image: name of the format.
        width: as the header says.
        height: as the header says, without its sign.
        at: offsets of the two fields in the input.

    Raises:
        InputError: names the field.
    """
    for name, value, offset in (("width", width, at[0]), ("height", height, at[1])):
        if not 1 <= value <= LARGEST_SIDE:
            raise reader.wrong(f"{image} {name}", value, f"must be 1 to {LARGEST_SIDE}", offset)
    if width * height > limits.max_pixels:
        allowed = f"more pixels than max_pixels = {limits.max_pixels}"
        raise reader.wrong(f"{image} width x height", f"{width} x {height} = {width * height}", allowed, at[0])


def look_up(table: Pixels, indexes: NDArray[np.uint8 | np.uint16], out: Pixels) -> None:
    """Write ``table[indexes]`` to ``out``, which may begin where ``indexes`` do.

    In bands: NumPy makes an index of eight bytes of every sample.
    """
    import numpy as np

    step = max(1, BAND_BYTES // (8 * indexes[:1].size))
    for first in range(0, len(indexes), step):
        band = indexes[first : first + step].astype(np.intp)
        # The default mode would write to a copy of ``out`` first; no index is outside.
        table.take(band, axis=0, out=out[first : first + step], mode="clip")


class Buffers:
    """Memory for frames, used again: the frames of a stream mostly have one size."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def take(self, size_bytes: int) -> memoryview:
        """Memory of exactly that size, with anything in it."""
        self._free = [free for free in self._free if len(free) == size_bytes]
        return self._free.pop() if self._free else memoryview(bytearray(size_bytes))

    def drop(self) -> None:
        """Let go of what is not in use."""
        self._free = []

    def give(self, frame: Frame) -> None:
        """Take back what ``frame`` holds."""
        if frame.pooled:
            self._free.append(frame.data)
