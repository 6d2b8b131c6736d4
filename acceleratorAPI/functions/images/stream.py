"""A stream of images one after the other, in any mixture of the formats."""

from __future__ import annotations

from collections.abc import Iterator

from acceleratorAPI.drivers.ends import Intake
from acceleratorAPI.errors import InputError
from acceleratorAPI.functions.images import bmp, png, pnm
from acceleratorAPI.functions.images.frame import Buffers, Frame, Limits
from acceleratorAPI.functions.images.reader import Reader


def frames(intake: Intake, limits: Limits, buffers: Buffers, function: str) -> Iterator[Frame]:
    """The images of an input, each as soon as it is there.

    Args:
        intake: the input.
        limits: what one image may be.
        buffers: where the memory of BMP and PNM pixels comes from; the caller gives it back.
        function: name of the function, for errors.

    Raises:
        InputError: there is none, or one is malformed, too large or cut off; names frame, byte, field and value.
    """
    reader = Reader(intake, function)
    while magic := reader.peek(len(png.MAGIC)):
        if magic[:2] == bmp.MAGIC:
            yield bmp.read(reader, limits, buffers)
        elif magic[:2] in pnm.MAGICS:
            yield pnm.read(reader, limits, buffers)
        elif magic == png.MAGIC:
            buffers.drop()
            yield png.read(reader, limits)
        else:
            raise reader.wrong(
                "image", repr(magic)[1:], "starts like no BMP, PPM (P6), PGM (P5) or PNG; convert it to one"
            )
        reader.frame += 1
    if reader.offset == 0:
        raise InputError(f"{function}: the input is empty; give it one image or several, one after the other")
