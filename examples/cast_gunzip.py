"""Unpack a gzip file, and see where a damaged one is damaged.

Run it with ``python examples/cast_gunzip.py``.
"""

from __future__ import annotations

import gzip

from acceleratorAPI import Accelerator
from acceleratorAPI.errors import CorruptInputError

TEXT = b"any gzip file, of any program, of any size\n" * 50_000
PACKED = gzip.compress(TEXT)

with Accelerator("cast_gunzip") as accelerator:
    accelerator.start()
    result = accelerator.process(PACKED)
    assert result.data == TEXT
    print(f"{result.bytes_in} -> {result.bytes_out} bytes, {result.specific['members']} member")
    try:
        accelerator.process(PACKED[:-100])
    except CorruptInputError as error:
        print(error)
