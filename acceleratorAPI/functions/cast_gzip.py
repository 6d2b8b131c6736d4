"""The function ``cast_gzip``: one gzip member, deflated on several cores by ISA-L."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from isal import isal_zlib
from pydantic import Field
from typing_extensions import override

from acceleratorAPI.drivers.base import Source, Target
from acceleratorAPI.drivers.cpu import BlockKernel, run_blocks
from acceleratorAPI.errors import FunctionFailedError
from acceleratorAPI.functions.base import Function, NoParameters, Outcome, Parameters
from acceleratorAPI.protocol.cards import Card

if TYPE_CHECKING:
    from typing_extensions import Buffer

# RFC 1952: magic, deflate, no flags, mtime 0, no extra flags, operating system unknown.
_HEADER = b"\x1f\x8b\x08\x00" + b"\x00\x00\x00\x00" + b"\x00\xff"
# RFC 1951: an empty block of fixed Huffman codes with the "final" bit set.
_FINAL_BLOCK = b"\x03\x00"
_DEFLATE_WINDOW = 32 * 1024


class GzipParameters(Parameters):
    """Parameters of ``process``."""

    level: int = Field(1, ge=0, le=3, description="0 (quickest) to 3 (smallest): the levels of ISA-L.")
    block_size: int = Field(
        1 << 20,
        ge=64 << 10,
        le=64 << 20,
        description="Bytes that one core deflates at a time. Larger: a little smaller output, more memory.",
    )


class DeflateKernel(BlockKernel[tuple[int, int]]):
    """Deflates each block with the end of the one before as its dictionary, up to a byte boundary."""

    lookbehind = _DEFLATE_WINDOW

    def __init__(self, level: int, block_size: int) -> None:
        self.block_size = block_size
        self.crc32 = 0
        self.size_bytes = 0
        self._level = level

    @override
    def head(self) -> bytes:
        return _HEADER

    @override
    def run(self, window: memoryview, start: int) -> tuple[Buffer, tuple[int, int]]:
        region = window[start:]
        deflate = isal_zlib.compressobj(
            self._level,
            isal_zlib.DEFLATED,
            -isal_zlib.MAX_WBITS,
            isal_zlib.DEF_MEM_LEVEL,
            isal_zlib.Z_DEFAULT_STRATEGY,
            window[:start],
        )
        output = deflate.compress(region) + deflate.flush(isal_zlib.Z_SYNC_FLUSH)
        return output, (isal_zlib.crc32(region), len(region))

    @override
    def collect(self, note: tuple[int, int]) -> None:
        crc32, size_bytes = note
        self.crc32 = isal_zlib.crc32_combine(self.crc32, crc32, size_bytes)
        self.size_bytes += size_bytes

    @override
    def tail(self) -> bytes:
        return _FINAL_BLOCK + struct.pack("<II", self.crc32, self.size_bytes & 0xFFFFFFFF)


class Gzip(Function[NoParameters, GzipParameters]):
    """Compresses a file to one gzip member that any gzip reads."""

    card = Card(
        name="cast_gzip",
        title="Gzip compression on all cores",
        description=(
            "Compresses a file of any size to a standard gzip file (RFC 1952): one member, read by every gzip. "
            "The file is deflated in blocks on all cores with Intel ISA-L; each block refers back to the one before "
            "it, so that the cuts cost next to nothing in size. The same input and parameters give the same bytes."
        ),
        version="1.0",
        limits=(
            "Levels 0 to 3 trade size for speed; `gzip -9` gives smaller files, much more slowly.",
            "The header holds neither the file's name nor its time.",
        ),
    )
    process_parameters = GzipParameters

    @override
    def process(self, source: Source | None, target: Target | None, parameters: GzipParameters) -> Outcome:
        if source is None or target is None:
            raise FunctionFailedError("cast_gzip: needs an input and an output")
        kernel = DeflateKernel(parameters.level, parameters.block_size)
        measurement = run_blocks(kernel, source, target, self.threads)
        ratio = measurement.bytes_in / measurement.bytes_out
        return Outcome(measurement, {"crc32": f"{kernel.crc32:08x}", "compression-ratio": round(ratio, 3)})
