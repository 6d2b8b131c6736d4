"""The gzip file format (RFC 1952): what stands before and after the deflate data, and the index of the members form.

Nothing here compresses. The index is the extra field ``IG`` that the Python package pgzip also writes.
"""

from __future__ import annotations

import struct

MAGIC = b"\x1f\x8b"
DEFLATE = 8
FHCRC, FEXTRA, FNAME, FCOMMENT, RESERVED = 0x02, 0x04, 0x08, 0x10, 0xE0
FIXED_BYTES = 10
TRAILER_BYTES = 8

# Magic, deflate, the flags, mtime 0, no extra flags, operating system unknown.
_FIXED = struct.Struct("<2sBBIBB")
_INDEX = struct.Struct("<2sHI")
_INDEXED_HEADER_BYTES = FIXED_BYTES + 2 + _INDEX.size


def plain_header() -> bytes:
    """The header of a member without name, time and index."""
    return _FIXED.pack(MAGIC, DEFLATE, 0, 0, 0, 255)


def indexed_header(data_bytes: int) -> bytes:
    """The header of a member that tells its own size.

    Args:
        data_bytes: of its deflate data alone.
    """
    member_bytes = _INDEXED_HEADER_BYTES + data_bytes + TRAILER_BYTES
    return (
        _FIXED.pack(MAGIC, DEFLATE, FEXTRA, 0, 0, 255)
        + struct.pack("<H", _INDEX.size)
        + _INDEX.pack(b"IG", 4, member_bytes)
    )


def trailer(crc32: int, size_bytes: int) -> bytes:
    """What ends a member: CRC-32 and size of what it holds, the size modulo 2^32."""
    return struct.pack("<II", crc32, size_bytes & 0xFFFFFFFF)


def indexed_bytes(start: bytes) -> int | None:
    """The size of the whole member that a header with an index claims, ``None`` when there is none.

    Known are ``IG`` (32 bits) and ``BC`` of BGZF (16 bits, less one). The claim may be wrong: it is for whoever uses
    it to check where the deflate data ends. A header that also holds a name, a comment or a checksum counts as none.

    Args:
        start: of the member, with its extra field as far as it is there.
    """
    if len(start) < FIXED_BYTES + 2 or start[:4] != MAGIC + bytes((DEFLATE, FEXTRA)):
        return None
    at = FIXED_BYTES + 2
    end = at + int.from_bytes(start[FIXED_BYTES:at], "little")
    while at + 4 <= min(end, len(start)):
        name, size_bytes = start[at : at + 2], int.from_bytes(start[at + 2 : at + 4], "little")
        at += 4
        field = start[at : min(at + size_bytes, end)]
        if name == b"IG" and len(field) == size_bytes == 4:
            return int.from_bytes(field, "little")
        if name == b"BC" and len(field) == size_bytes == 2:
            return int.from_bytes(field, "little") + 1
        at += size_bytes
    return None
