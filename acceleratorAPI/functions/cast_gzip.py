"""The function ``cast_gzip``: a gzip file, deflated on several cores by ISA-L or zlib-ng."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from isal import isal_zlib
from pydantic import Field
from typing_extensions import override
from zlib_ng import zlib_ng

from acceleratorAPI.drivers.base import Source, Target
from acceleratorAPI.drivers.cpu import BlockKernel, run_blocks
from acceleratorAPI.errors import FunctionFailedError
from acceleratorAPI.functions import gzip_format
from acceleratorAPI.functions.base import Function, NoParameters, Outcome, Parameters
from acceleratorAPI.protocol.cards import Card

if TYPE_CHECKING:
    from typing_extensions import Buffer

# RFC 1951: an empty block of fixed Huffman codes with the "final" bit set.
_FINAL_BLOCK = b"\x03\x00"
_DEFLATE_WINDOW = 32 * 1024
_BEST_ISAL_LEVEL = 3


class GzipParameters(Parameters):
    """Parameters of ``process``."""

    level: int = Field(
        1, ge=0, le=9, description="0 (quickest) to 9 (usually smallest): 0 to 3 by ISA-L, 4 to 9 by zlib-ng."
    )
    block_size: int = Field(
        1 << 20,
        ge=64 << 10,
        le=64 << 20,
        description="Bytes that one core deflates at a time. Larger: a little smaller output, more memory.",
    )
    form: Literal["single", "members"] = Field(
        "single",
        description=(
            "`single`: one gzip member. `members`: one a block, each with its size in its header, "
            "so that `cast_gunzip` unpacks on all cores; any gzip reads both."
        ),
    )


def _deflated(level: int, window: memoryview, start: int, end: int) -> bytes:
    """The region ``window[start:]`` as deflate data, what stands before it as its dictionary.

    Args:
        level: of ``GzipParameters``.
        window: bytes of the input.
        start: where the region begins.
        end: how the data ends: ``Z_SYNC_FLUSH`` at a byte, to be gone on with, ``Z_FINISH`` for good.
    """
    codec = isal_zlib if level <= _BEST_ISAL_LEVEL else zlib_ng
    deflate = codec.compressobj(
        level,
        codec.DEFLATED,
        -codec.MAX_WBITS,
        codec.DEF_MEM_LEVEL,
        codec.Z_DEFAULT_STRATEGY,
        window[:start],
    )
    output: bytes = deflate.compress(window[start:]) + deflate.flush(end)
    return output


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
        return gzip_format.plain_header()

    @override
    def run(self, window: memoryview, start: int) -> tuple[Buffer, tuple[int, int]]:
        region = window[start:]
        output = _deflated(self._level, window, start, isal_zlib.Z_SYNC_FLUSH)
        return output, (isal_zlib.crc32(region), len(region))

    @override
    def collect(self, note: tuple[int, int]) -> None:
        crc32, size_bytes = note
        self.crc32 = isal_zlib.crc32_combine(self.crc32, crc32, size_bytes)
        self.size_bytes += size_bytes

    @override
    def tail(self) -> bytes:
        return _FINAL_BLOCK + gzip_format.trailer(self.crc32, self.size_bytes)


class MemberKernel(DeflateKernel):
    """Makes of each block a gzip member that knows nothing of the others and tells its size."""

    lookbehind = 0

    @override
    def head(self) -> bytes:
        return b""

    @override
    def run(self, window: memoryview, start: int) -> tuple[Buffer, tuple[int, int]]:
        crc32, size_bytes = isal_zlib.crc32(window), len(window)
        data = _deflated(self._level, window, 0, isal_zlib.Z_FINISH)
        parts = (gzip_format.indexed_header(len(data)), data, gzip_format.trailer(crc32, size_bytes))
        return b"".join(parts), (crc32, size_bytes)

    @override
    def tail(self) -> bytes:
        # A file of no member would be no gzip file.
        return b"" if self.size_bytes else bytes(self.run(memoryview(b""), 0)[0])


class Gzip(Function[NoParameters, GzipParameters]):
    """Compresses a file to a gzip file that any gzip reads."""

    card = Card(
        name="cast_gzip",
        title="Gzip compression on all cores",
        description=(
            "Compresses a file of any size to a standard gzip file (RFC 1952): by default one member, read by every "
            "gzip. The file is deflated in blocks on all cores, for speed with Intel ISA-L (levels 0 to 3), for size "
            "with zlib-ng (levels 4 to 9); each block refers back to the one before it, so that the cuts cost next to "
            "nothing in size. The same input and parameters give the same bytes on the same kind of processor."
        ),
        version="1.1",
        limits=(
            "Level 6 gives about the size of `gzip -6`; level 9 stays a little above `gzip -9`.",
            "The header holds neither the file's name nor its time.",
            "In the form `members` the blocks do not refer to each other, which costs size with small blocks.",
        ),
    )
    process_parameters = GzipParameters

    @override
    def process(self, source: Source | None, target: Target | None, parameters: GzipParameters) -> Outcome:
        if source is None or target is None:
            raise FunctionFailedError("cast_gzip: needs an input and an output")
        make = MemberKernel if parameters.form == "members" else DeflateKernel
        kernel = make(parameters.level, parameters.block_size)
        measurement = run_blocks(kernel, source, target, self.threads)
        ratio = measurement.bytes_in / measurement.bytes_out
        return Outcome(measurement, {"crc32": f"{kernel.crc32:08x}", "compression-ratio": round(ratio, 3)})
