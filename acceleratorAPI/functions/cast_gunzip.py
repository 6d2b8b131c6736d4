"""The function ``cast_gunzip``: the content of a gzip file; members that tell their size are unpacked on all cores."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from acceleratorAPI.drivers.ahead import Pieces, Producer, Submit, run_ahead
from acceleratorAPI.drivers.base import Source, Target
from acceleratorAPI.errors import CorruptInputError, FunctionFailedError
from acceleratorAPI.functions import gzip_format
from acceleratorAPI.functions.base import Function, NoParameters, Outcome
from acceleratorAPI.functions.gzip_reader import MemberReader, PackedInput
from acceleratorAPI.protocol.cards import Card

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Indexed members are unpacked together, as many as fit; a larger one is unpacked as one without an index. Below 4 MB
# the stored size modulo 2^32 cannot have wrapped: deflate packs by at most 1:1032.
_RUN_PACKED_BYTES = 2 << 20
_RUN_UNPACKED_BYTES = 2 << 20
# A header with an index is short; one that is not is read as any other.
_PEEK_BYTES = 64


class Unpacker(Producer):
    """Follows the members of one input to its end.

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
    def pieces(self, source: Source, submit: Submit) -> Iterator[Buffer | Future[Pieces]]:
        packed = PackedInput(source)
        self._check_beginning(packed)
        unpacked_bytes = 0
        while packed.peek(2) == gzip_format.MAGIC:
            run = _IndexedRun.at(packed, unpacked_bytes)
            if run is not None:
                unpacked_bytes += run.unpacked_bytes
                self.members += len(run.sizes)
                yield submit(run.unpack)
            else:
                reader = MemberReader(packed, unpacked_bytes)
                yield from reader.member()
                unpacked_bytes = reader.unpacked_bytes
                self.members += 1
        self._pass_the_rest(packed)

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
        unpacked_bytes: of all.
    """

    def __init__(self, packed: PackedInput, unpacked_before: int, sizes: list[tuple[int, int]]) -> None:
        self.sizes = sizes
        self.unpacked_bytes = sum(unpacked for _, unpacked in sizes)
        self._offset = packed.offset
        self._unpacked_before = unpacked_before
        self._data = packed.take(sum(size for size, _ in sizes))

    @classmethod
    def at(cls, packed: PackedInput, unpacked_before: int) -> _IndexedRun | None:
        """The indexed members that begin here, taken from ``packed``; ``None`` when they do not seem to be such."""
        sizes: list[tuple[int, int]] = []
        end = unpacked_bytes = 0
        while True:
            size = gzip_format.indexed_bytes(packed.peek(_PEEK_BYTES, end))
            if (
                size is None
                or not gzip_format.FIXED_BYTES + gzip_format.TRAILER_BYTES < size <= _RUN_PACKED_BYTES - end
            ):
                break
            # Read to the claimed end and past it: there, the next member or the end of the input must stand.
            behind = packed.peek(6, end + size - 4)
            if len(behind) < 4 or behind[4:] not in (b"", gzip_format.MAGIC):
                break
            unpacked = int.from_bytes(behind[:4], "little")
            if unpacked_bytes + unpacked > _RUN_UNPACKED_BYTES:
                break
            sizes.append((size, unpacked))
            end += size
            unpacked_bytes += unpacked
        return cls(packed, unpacked_before, sizes) if sizes else None

    def unpack(self) -> list[bytes]:
        """The content of the members, checked like any; also that each ends where its header said."""
        packed = PackedInput.of(self._data, self._offset)
        reader = MemberReader(packed, self._unpacked_before, _RUN_UNPACKED_BYTES)
        pieces: list[bytes] = []
        end = self._offset
        for size, unpacked in self.sizes:
            end += size
            pieces += reader.member(unpacked)
            if packed.offset != end:
                raise reader.error(f"its header says that it ends at byte {end}")
        return pieces


class Gunzip(Function[NoParameters, NoParameters]):
    """Unpacks a gzip file."""

    card = Card(
        name="cast_gunzip",
        title="Gzip decompression, checked and bounded",
        description=(
            "Unpacks a gzip file (RFC 1952) of any size and any number of members, made by any program. Decoding by "
            "Intel ISA-L, reading and writing overlap; members whose header tells their size (`cast_gzip` in the form "
            "`members`, pgzip, BGZF) are unpacked on all cores. Header and content checksums and sizes are checked; a "
            "damaged or cut input is an error that says where, and leaves no output."
        ),
        version="1.0",
        limits=(
            "A file of one member without an index is decoded by one core; reading and writing use the others.",
            "Bytes behind the last member that are no member are passed over, as by GNU gzip, and reported.",
            "How much may come out is a setting of the node: `--max-output`.",
        ),
    )

    @override
    def process(self, source: Source | None, target: Target | None, parameters: NoParameters) -> Outcome:
        if source is None or target is None:
            raise FunctionFailedError("cast_gunzip: needs an input and an output")
        unpacker = Unpacker()
        measurement = run_ahead(unpacker, source, target, self.threads)
        ratio = measurement.bytes_out / measurement.bytes_in
        return Outcome(measurement, {**unpacker.specific(), "compression-ratio": round(ratio, 3)})
