"""Compress for speed, for size, and for unpacking on all cores; Python's gzip reads all three.

Run it with ``python examples/cast_gzip.py``.
"""

from __future__ import annotations

import gzip

from acceleratorAPI import Accelerator

TEXT = b"".join(b"line %d of a log that repeats itself\n" % number for number in range(200_000))

with Accelerator("cast_gzip") as accelerator:
    accelerator.start()
    for parameters in ({"level": 1}, {"level": 6}, {"level": 1, "form": "members"}):
        packed = accelerator.process(TEXT, **parameters)
        assert gzip.decompress(packed.data) == TEXT
        print(f"{parameters}: {packed.bytes_in} -> {packed.bytes_out} bytes, CRC-32 {packed.specific['crc32']}")
