"""Pieces of a file that come in any order: up to where none is missing, and the CRC32C of all up to there.

Both ends of a transfer over several connections count this way. CRCs are put together without the bytes: appending n
zero bytes to a message is a linear map of its CRC over GF(2) (as in zlib's crc32_combine, by Mark Adler).
"""

from __future__ import annotations

_POLYNOMIAL = 0x82F63B78
# Appending 2**n zero bytes, as the images of the 32 single bits; made on first use.
_operators: list[list[int]] = []


class Joined:
    """The pieces of one file.

    Attributes:
        end: offset up to which nothing is missing.
        crc32c: of the bytes up to there.
    """

    def __init__(self, end: int = 0, crc32c: int = 0) -> None:
        self.end = end
        self.crc32c = crc32c
        self._ahead: dict[int, tuple[int, int]] = {}

    def add(self, offset: int, size: int, crc32c: int) -> bool:
        """Take a piece; whether ``end`` moved. One that came before is passed over."""
        if offset < self.end or size == 0:
            return False
        self._ahead[offset] = size, crc32c
        before = self.end
        while self.end in self._ahead:
            size, crc = self._ahead.pop(self.end)
            self.crc32c = combine(self.crc32c, crc, size)
            self.end += size
        return self.end > before

    def __contains__(self, offset: int) -> bool:
        """Whether the piece that begins at ``offset`` is there."""
        return offset < self.end or offset in self._ahead


def combine(first: int, second: int, second_bytes: int) -> int:
    """The CRC32C of two messages, one after the other, from that of each and the length of the second."""
    bit = 0
    while second_bytes >> bit:
        if second_bytes >> bit & 1:
            first = _apply(_operator(bit), first)
        bit += 1
    return first ^ second


def _apply(operator: list[int], vector: int) -> int:
    found, row = 0, 0
    while vector:
        if vector & 1:
            found ^= operator[row]
        vector >>= 1
        row += 1
    return found


def _operator(power: int) -> list[int]:
    """The map that appends ``2**power`` zero bytes."""
    if not _operators:
        zero_bit = [_POLYNOMIAL, *(1 << bit for bit in range(31))]
        two = _squared(zero_bit)
        _operators.append(_squared(_squared(two)))
    while len(_operators) <= power:
        _operators.append(_squared(_operators[-1]))
    return _operators[power]


def _squared(operator: list[int]) -> list[int]:
    return [_apply(operator, row) for row in operator]
