"""Random bytes from two sources; the answer says which.

Run it with ``python examples/secureic_trng.py``.
"""

from __future__ import annotations

from acceleratorAPI import Accelerator

with Accelerator("secureic_trng") as accelerator:
    accelerator.start()
    key = accelerator.process(nbBytes=32)
    print(key.data.hex(), "from", key.specific["generator"])
    print(accelerator.process(dst="random.bin", nbBytes=100_000_000, source="chacha20"))
