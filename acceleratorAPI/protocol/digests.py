"""Checksums as header fields carry them."""

from __future__ import annotations

import base64


def crc32c_field(crc32c: int) -> str:
    """The member ``crc32c`` of a digest field (RFC 9530)."""
    return f"crc32c=:{base64.b64encode(crc32c.to_bytes(4, 'big')).decode()}:"
