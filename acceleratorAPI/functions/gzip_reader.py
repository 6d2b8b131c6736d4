"""Gzip members from a stream, checked byte for byte: header, deflate data by ISA-L, CRC-32 and size."""

from __future__ import annotations

from collections.abc import Iterator

from isal import igzip_lib, isal_zlib

from acceleratorAPI.drivers.base import Source
from acceleratorAPI.errors import CorruptInputError
from acceleratorAPI.functions import gzip_format
from acceleratorAPI.functions.gzip_format import FCOMMENT, FEXTRA, FHCRC, FNAME, RESERVED

# What is read and given to the decoder at a time, and the most it gives. After each output another core goes on, which
# has to fetch what the decoder remembers: not too often.
_READ_BYTES = 256 << 10
_PIECE_BYTES = 2 << 20
# The first feed of a member: the decoder copies what it does not need, and a member may be short.
_FIRST_FEED_BYTES = 4 << 10
# A dynamic block's code lengths, the most the decoder holds back from one feed to the next (RFC 1951, 3.2.7).
_HELD_BYTES = 328


class PackedInput:
    """A source that can be looked at before it is taken, and knows where in the input it is.

    Attributes:
        offset: of the next byte in the input.
    """

    def __init__(self, source: Source) -> None:
        self.offset = 0
        self._source: Source | None = source
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._at = self._filled = 0

    @classmethod
    def of(cls, data: bytes, offset: int) -> PackedInput:
        """A part of an input, in memory, that begins at ``offset``."""
        packed = cls.__new__(cls)
        packed.offset = offset
        packed._source = None
        packed._buffer = memoryview(data)
        packed._at, packed._filled = 0, len(data)
        return packed

    def peek(self, size_bytes: int, skip_bytes: int = 0) -> bytes:
        """The bytes behind the next ``skip_bytes``, fewer only at the end of the input."""
        end = skip_bytes + size_bytes
        while self._filled - self._at < end and self._read(end):
            pass
        return bytes(self._buffer[self._at + skip_bytes : min(self._at + end, self._filled)])

    def take(self, size_bytes: int) -> bytes:
        """The next bytes, fewer only at the end of the input."""
        taken = self.peek(size_bytes)
        self._go(len(taken))
        return taken

    def some(self, most_bytes: int = _READ_BYTES) -> memoryview:
        """Some of the next bytes, as soon as there are any, good until the next call; none at the end of the input."""
        if self._at == self._filled:
            self._read(1)
        taken = self._buffer[self._at : min(self._at + most_bytes, self._filled)]
        self._go(len(taken))
        return taken

    def give_back(self, count: int) -> None:
        """Let the last ``count`` bytes of ``some`` be the next ones again."""
        self._go(-count)

    def _go(self, count: int) -> None:
        self._at += count
        self.offset += count

    def _read(self, wanted_bytes: int) -> bool:
        """Read once, behind what is there and with room for all that is wanted; whether there was anything."""
        if self._source is None:
            return False
        if self._at == self._filled or self._at + wanted_bytes > len(self._buffer):
            rest = self._buffer[self._at : self._filled]
            if wanted_bytes > len(self._buffer):
                self._buffer = memoryview(bytearray(wanted_bytes + _READ_BYTES))
            self._buffer[: len(rest)] = rest
            self._at, self._filled = 0, len(rest)
        count = self._source.readinto(self._buffer[self._filled :])
        if not count:
            self._source = None
            return False
        self._filled += count
        return True


class MemberReader:
    """Unpacks the members of an input, one after the other.

    Attributes:
        unpacked_bytes: how many bytes of output were made, those before this reader included.
    """

    def __init__(self, packed: PackedInput, unpacked_bytes: int = 0, piece_bytes: int = _PIECE_BYTES) -> None:
        self._piece_bytes = piece_bytes
        self.unpacked_bytes = unpacked_bytes
        self._packed = packed
        self._start = packed.offset

    def member(self, largest_bytes: int | None = None) -> Iterator[bytes]:
        """The content of the member that begins here, in pieces; its checks come with the last.

        Args:
            largest_bytes: how much it may hold; more is an error, told at once.

        Raises:
            CorruptInputError: it is damaged or cut short; the message says where.
        """
        self._start = self._packed.offset
        self._header()
        crc32 = size_bytes = 0
        for piece in self._inflated():
            crc32 = isal_zlib.crc32(piece, crc32)
            size_bytes += len(piece)
            if largest_bytes is not None and size_bytes > largest_bytes:
                raise self.error(f"its last bytes say that it holds {largest_bytes} bytes, but there are more")
            yield piece
        self._trailer(crc32, size_bytes)

    def error(self, what: str, begin: int | None = None) -> CorruptInputError:
        """The error for a fault of the current member, at the current place or between ``begin`` and it."""
        here = self._packed.offset
        place = f"byte {here}" if begin is None or begin == here else f"bytes {begin} to {here}"
        return CorruptInputError(
            f"the gzip input is damaged: {what} (at {place} of the input, after {self.unpacked_bytes} bytes of output, "
            f"in the member that begins at byte {self._start}); make or fetch the file again"
        )

    def _cut_short(self, part: str) -> CorruptInputError:
        return self.error(f"it ends too early, in {part}")

    def _header(self) -> None:
        header = _HeaderBytes(self._packed)
        fixed = header.take(gzip_format.FIXED_BYTES)
        if fixed[:2] != gzip_format.MAGIC:
            raise self.error(f"a member cannot begin with {fixed[:2].hex(' ') or 'nothing'}")
        if len(fixed) < gzip_format.FIXED_BYTES:
            raise self._cut_short("a header")
        method, flags = fixed[2], fixed[3]
        if method != gzip_format.DEFLATE:
            raise self.error(f"compression method {method} is not known, only {gzip_format.DEFLATE} (deflate) is")
        if flags & RESERVED:
            raise self.error(f"reserved flags are set (flags {flags:#04x})")
        whole = True
        if flags & FEXTRA:
            size = header.take(2)
            length = int.from_bytes(size, "little")
            whole = len(size) == 2 and len(header.take(length)) == length
        for flag in (FNAME, FCOMMENT):
            whole = whole and (not flags & flag or header.skip_text())
        if flags & FHCRC and whole:
            computed = header.crc32 & 0xFFFF
            stored = self._packed.take(2)
            whole = len(stored) == 2
            if whole and int.from_bytes(stored, "little") != computed:
                raise self.error(f"the header's CRC is {computed:04x}, but {stored[::-1].hex()} is stored")
        if not whole:
            raise self._cut_short("a header")

    def _inflated(self) -> Iterator[bytes]:
        inflater = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE)
        begin = self._packed.offset
        fed, feed_bytes = begin, _FIRST_FEED_BYTES
        while not inflater.eof:
            feed: memoryview | bytes = b""
            if inflater.needs_input:
                fed = self._packed.offset
                feed = self._packed.some(feed_bytes)
                feed_bytes = min(2 * feed_bytes, _READ_BYTES)
                if not feed:
                    raise self._cut_short("deflate data")
            try:
                piece = inflater.decompress(feed, self._piece_bytes)
            except igzip_lib.error as error:  # type: ignore[misc]  # its stub says Exception for type[Exception]
                raise self.error("its deflate data is not valid", max(begin, fed - _HELD_BYTES)) from error
            if piece:
                self.unpacked_bytes += len(piece)
                yield piece
        self._packed.give_back(len(inflater.unused_data))

    def _trailer(self, crc32: int, size_bytes: int) -> None:
        stored = self._packed.take(gzip_format.TRAILER_BYTES)
        if len(stored) < gzip_format.TRAILER_BYTES:
            raise self._cut_short("a trailer")
        if int.from_bytes(stored[:4], "little") != crc32:
            raise self.error(f"the content's CRC-32 is {crc32:08x}, but {stored[3::-1].hex()} is stored")
        if int.from_bytes(stored[4:], "little") != size_bytes & 0xFFFFFFFF:
            known = int.from_bytes(stored[4:], "little")
            raise self.error(f"the content has {size_bytes} bytes, but {known} (modulo 2^32) is stored")


class _HeaderBytes:
    """Takes the bytes of a header and keeps their CRC-32."""

    def __init__(self, packed: PackedInput) -> None:
        self.crc32 = 0
        self._packed = packed

    def take(self, size_bytes: int) -> bytes:
        data = self._packed.take(size_bytes)
        self.crc32 = isal_zlib.crc32(data, self.crc32)
        return data

    def skip_text(self) -> bool:
        """Pass a text that ends with a zero byte; whether it did. It may be longer than the memory."""
        while data := self._packed.some():
            text, zero, rest = bytes(data).partition(b"\0")
            self.crc32 = isal_zlib.crc32(text + zero, self.crc32)
            if zero:
                self._packed.give_back(len(rest))
                return True
        return False
