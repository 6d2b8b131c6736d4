"""Random changes of an input, the same for the same seed: they keep harnesses honest and are no fuzzer."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

_ODD = (
    b"",
    b"\x00",
    b"\xff",
    b"\r\n",
    b"--",
    b'"',
    b"\\",
    b",",
    b"=",
    b"%",
    b"[",
    b"{",
    b"9" * 25,
    b"\xc3\x28",
    b"a" * 5000,
)


def mutated(seeds: Sequence[bytes], count: int, seed: str) -> Iterator[bytes]:
    """``count`` inputs, each some changes away from one of ``seeds``."""
    chooser = random.Random(seed)
    for _ in range(count):
        data = bytearray(chooser.choice(seeds))
        for _ in range(chooser.choice((1, 1, 2, 4, 16))):
            at = chooser.randrange(len(data) + 1)
            end = min(len(data), at + chooser.choice((0, 1, 1, 4, 30)))
            change = chooser.randrange(5)
            if change == 0:
                data[at:end] = chooser.randbytes(end - at)
            elif change == 1:
                data[at:end] = chooser.choice(_ODD)
            elif change == 2:
                data[at:at] = data[at:end] * chooser.choice((1, 3, 40))
            elif change == 3:
                other = chooser.choice(seeds)
                data[at:end] = other[chooser.randrange(len(other) + 1) :]
            else:
                del data[at:end]
        yield bytes(data)
