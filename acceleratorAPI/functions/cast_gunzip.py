"""The function ``cast_gunzip``: the content of a gzip file; members that tell their size are unpacked on all cores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import deflate
from typing_extensions import override

from acceleratorAPI.drivers.base import Source, Target
from acceleratorAPI.drivers.cpu import PieceKernel, run_pieces
from acceleratorAPI.drivers.ends import Intake
from acceleratorAPI.errors import CorruptInputError, FunctionFailedError
from acceleratorAPI.functions import gzip_format
from acceleratorAPI.functions.base import Function, NoParameters, Outcome
from acceleratorAPI.functions.gzip_reader import MemberReader, PackedInput
from acceleratorAPI.native._kernels import find
from acceleratorAPI.protocol.cards import Card

# Indexed members are unpacked together, up to this many bytes, packed or unpacked.
_RUN_BYTES = 1 << 20
# A larger member, packed or unpacked, is read as one without an index; one of 2 MiB that could not be compressed still
# fits. Below 4 MB the stored size modulo 2^32 cannot have wrapped: deflate packs by at most 1:1032.
_LARGEST_MEMBER_BYTES = (2 << 20) + (4 << 10)
_SMALLEST_MEMBER_BYTES = gzip_format.FIXED_BYTES + gzip_format.TRAILER_BYTES + 2
# A header with an index is short; one that is not is read as any other.
_PEEK_BYTES = 64


class Unpacker(PieceKernel["bytes | _IndexedRun"]):
    """Follows the members of one input to its end: indexed ones are left to any core, others unpacked on the way.

    Attributes:
        members: how many there are.
        padding_bytes: zero bytes behind the last one.
        trailing_bytes: what stands behind the last member and is none.
        trailing_offset: where that begins in the input.
    """

    def __init__(self) -> None:
        self.members = 0
        self.padding_bytes = 0
        self.trailing_bytes = 0
        self.trailing_offset = 0

    @override
    def pieces(self, intake: Intake) -> Iterator[bytes | _IndexedRun]:
        packed = PackedInput(intake)
        self._check_beginning(packed)
        unpacked_bytes = 0
        while packed.peek(2) == gzip_format.MAGIC:
            run = _IndexedRun.at(packed, unpacked_bytes)
            if run is not None:
                unpacked_bytes += run.unpacked_bytes
                self.members += len(run.sizes)
                yield run
            else:
                reader = MemberReader(packed, unpacked_bytes)
                yield from reader.member()
                unpacked_bytes = reader.unpacked_bytes
                self.members += 1
        self._pass_the_rest(packed)

    @override
    def size_bytes(self, piece: bytes | _IndexedRun) -> int:
        return len(piece) if isinstance(piece, bytes) else piece.packed_bytes + piece.unpacked_bytes

    @override
    def run(self, piece: bytes | _IndexedRun) -> bytes | bytearray:
        return piece if isinstance(piece, bytes) else piece.unpack()

    def specific(self) -> dict[str, Any]:
        """The function's answers about the input."""
        answer: dict[str, Any] = {"members": self.members}
        if self.padding_bytes:
            answer["padding-bytes"] = self.padding_bytes
        if self.trailing_bytes:
            answer["trailing-bytes"] = self.trailing_bytes
            answer["trailing-offset"] = self.trailing_offset
            answer["warning"] = (
                f"{self.trailing_bytes} bytes from byte {self.trailing_offset} of the input on are no gzip member and "
                "were passed over"
            )
        return answer

    @staticmethod
    def _check_beginning(packed: PackedInput) -> None:
        beginning = packed.peek(2)
        if beginning != gzip_format.MAGIC:
            found = f"it begins with {beginning.hex(' ')}, not 1f 8b" if beginning else "it is empty"
            raise CorruptInputError(f"the input is no gzip file: {found} (at byte 0); give a file made by gzip")

    def _pass_the_rest(self, packed: PackedInput) -> None:
        """As GNU gzip: zeros to the end are padding; anything else, zeros before it included, is passed over."""
        begin = packed.offset
        zeros = True
        while rest := packed.some():
            zeros = zeros and not bytes(rest).strip(b"\0")
        if zeros:
            self.padding_bytes = packed.offset - begin
        else:
            self.trailing_bytes, self.trailing_offset = packed.offset - begin, begin


class _IndexedRun:
    """Whole members that stand together in memory, for one core.

    Attributes:
        sizes: packed and unpacked bytes of each, as its header and trailer claim.
        packed_bytes: of all.
        unpacked_bytes: of all.
    """

    def __init__(self, packed: PackedInput, unpacked_before: int, sizes: list[tuple[int, int]]) -> None:
        self.sizes = sizes
        self.packed_bytes = sum(size for size, _ in sizes)
        self.unpacked_bytes = sum(unpacked for _, unpacked in sizes)
        self._offset = packed.offset
        self._unpacked_before = unpacked_before
        self._data = packed.take(self.packed_bytes)

    @classmethod
    def at(cls, packed: PackedInput, unpacked_before: int) -> _IndexedRun | None:
        """The indexed members that begin here, taken from ``packed``; ``None`` when they do not seem to be such."""
        sizes: list[tuple[int, int]] = []
        end = unpacked_bytes = 0
        while True:
            size = gzip_format.indexed_bytes(packed.peek(_PEEK_BYTES, end))
            if size is None or not _SMALLEST_MEMBER_BYTES <= size <= _LARGEST_MEMBER_BYTES:
                break
            # Read to the claimed end and past it: there, the next member or the end of the input must stand.
            behind = packed.peek(6, end + size - 4)
            if len(behind) < 4 or behind[4:] not in (b"", gzip_format.MAGIC):
                break
            unpacked = int.from_bytes(behind[:4], "little")
            if unpacked > _LARGEST_MEMBER_BYTES or (sizes and max(end + size, unpacked_bytes + unpacked) > _RUN_BYTES):
                break
            sizes.append((size, unpacked))
            end += size
            unpacked_bytes += unpacked
        return cls(packed, unpacked_before, sizes) if sizes else None

    def unpack(self) -> bytes | bytearray:
        """The content of the members, checked like any; also that each ends where its header said."""
        contents: list[bytes | bytearray] = []
        begin = 0
        for size, unpacked in self.sizes:
            content = self._unpack_at(begin, begin + size, unpacked)
            if content is None:
                return self._unpack_carefully()
            contents.append(content)
            begin += size
        return contents[0] if len(contents) == 1 else b"".join(contents)

    def _unpack_at(self, begin: int, end: int, unpacked_bytes: int) -> bytearray | None:
        """The content of one member by libdeflate, the quickest; ``None`` when anything is unusual or wrong with it."""
        if unpacked_bytes == 0:
            return None
        member = memoryview(self._data)[begin:end]
        try:
            content = deflate.gzip_decompress(member, unpacked_bytes)
        except deflate.DeflateError:
            return None
        trailer = gzip_format.trailer(deflate.crc32(content), len(content))
        # It has checked a trailer where the deflate data end, and does not tell where that was: not before the place
        # that the header claims, if there is no such trailer before.
        return content if find(member, trailer) == len(member) - len(trailer) else None

    def _unpack_carefully(self) -> bytes:
        packed = PackedInput.of(self._data, self._offset)
        reader = MemberReader(packed, self._unpacked_before, _RUN_BYTES)
        pieces: list[bytes] = []
        end = self._offset
        for size, unpacked in self.sizes:
            end += size
            pieces += reader.member(unpacked)
            if packed.offset != end:
                raise reader.error(f"its header says that it ends at byte {end}")
        return b"".join(pieces)


class Gunzip(Function[NoParameters, NoParameters]):
    """Unpacks a gzip file."""

    card = Card(
        name="cast_gunzip",
        title="Gzip decompression, checked and bounded",
        description=(
            "Unpacks a gzip file (RFC 1952) of any size and any number of members, made by any program. Decoding by "
            "Intel ISA-L, with writing beside it; members whose header tells their size (`cast_gzip` in the form "
            "`members`, pgzip, BGZF) are unpacked on all cores, by libdeflate. Header and content checksums and sizes "
            "are checked; a damaged or cut input is an error that says where, and leaves no output."
        ),
        version="1.0",
        limits=(
            "A file of one member without an index is decoded by one core; another writes.",
            "Bytes behind the last member that are no member are passed over, as by GNU gzip, and reported.",
            "How much may come out is a setting of the node: `--max-output`.",
        ),
    )

    @override
    def process(self, source: Source | None, target: Target | None, parameters: NoParameters) -> Outcome:
        if source is None or target is None:
            raise FunctionFailedError("cast_gunzip: needs an input and an output")
        unpacker = Unpacker()
        measurement = run_pieces(unpacker, source, target, self.threads)
        ratio = measurement.bytes_out / measurement.bytes_in
        return Outcome(measurement, {**unpacker.specific(), "compression-ratio": round(ratio, 3)})
