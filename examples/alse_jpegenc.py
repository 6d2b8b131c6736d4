"""Encode ten images, one after the other in one stream, to a Motion JPEG stream.

Run it with ``python examples/alse_jpegenc.py``.
"""

from __future__ import annotations

from pathlib import Path

from acceleratorAPI import Accelerator

WIDTH, HEIGHT = 320, 240


def frame(number: int) -> bytes:
    """A PPM with a slope that moves from frame to frame."""
    row = b"".join(bytes(((x + 8 * number) % 256, x * 255 // WIDTH, 128)) for x in range(WIDTH))
    return b"P6\n%d %d\n255\n" % (WIDTH, HEIGHT) + row * HEIGHT


with Accelerator("alse_jpegenc") as accelerator:
    accelerator.start()
    result = accelerator.process(b"".join(map(frame, range(10))), "slopes.mjpeg", quality=90, subsampling="4:4:4")
    print(result)
    print(f"{result.specific['frames']} frames of {result.specific['width']} x {result.specific['height']}")
    print(f"{Path('slopes.mjpeg').stat().st_size} bytes in slopes.mjpeg")
