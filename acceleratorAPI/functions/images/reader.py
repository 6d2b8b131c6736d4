"""The bytes of a stream of images: looked at before they are taken, counted, with errors that say where."""

from __future__ import annotations

from acceleratorAPI.drivers.ends import Intake
from acceleratorAPI.errors import InputError

# Headers are looked at in here; pixels go from the source straight to their place.
WINDOW_BYTES = 4096


class Reader:
    """Reads a stream of images.

    Attributes:
        offset: of the next byte to take, from the start of the input.
        frame: number of the image being read, from 1.
    """

    def __init__(self, intake: Intake, function: str) -> None:
        self._intake = intake
        self._function = function
        self._window = bytearray(WINDOW_BYTES)
        self._first = 0
        self._end = 0
        self._scratch = memoryview(b"")
        self.offset = 0
        self.frame = 1

    @property
    def seen(self) -> bytes:
        """What has been looked at and not yet taken."""
        return bytes(memoryview(self._window)[self._first : self._end])

    def more(self) -> bool:
        """See some more bytes; false at the end of the input or when ``WINDOW_BYTES`` are in sight."""
        held = self.seen
        if len(held) == WINDOW_BYTES:
            return False
        self._window[: len(held)] = held
        self._first, self._end = 0, len(held)
        self._end += self._intake.readinto(memoryview(self._window)[self._end :])
        return self._end > len(held)

    def peek(self, size_bytes: int) -> bytes:
        """The next bytes, which stay where they are; fewer at the end of the input."""
        while self._end - self._first < size_bytes and self.more():
            pass
        return self.seen[:size_bytes]

    def take(self, size_bytes: int, what: str) -> bytes:
        """The next bytes, at most ``WINDOW_BYTES``.

        Raises:
            InputError: the input ends before.
        """
        taken = self.peek(size_bytes)
        if len(taken) < size_bytes:
            raise self.cut_off(what, size_bytes, len(taken))
        self._drop(size_bytes)
        return taken

    def fill(self, buffer: memoryview, what: str) -> None:
        """The next bytes into ``buffer``.

        Raises:
            InputError: the input ends before.
        """
        start = self.seen[: len(buffer)]
        buffer[: len(start)] = start
        filled = len(start) + self._intake.fill(buffer[len(start) :])
        if filled < len(buffer):
            raise self.cut_off(what, len(buffer), filled)
        self._drop(len(start))
        self.offset += filled - len(start)

    def skip(self, size_bytes: int) -> int:
        """Pass over bytes; how many there were, fewer than asked for only at the end of the input."""
        left = size_bytes - self._drop(min(size_bytes, self._end - self._first))
        if left and not self._scratch:
            self._scratch = memoryview(bytearray(64 << 10))
        while left:
            count = self._intake.fill(self._scratch[:left])
            if count == 0:
                break
            self.offset += count
            left -= count
        return size_bytes - left

    def _drop(self, size_bytes: int) -> int:
        self._first += size_bytes
        self.offset += size_bytes
        return size_bytes

    def wrong(self, field: str, value: object, allowed: str, offset: int | None = None) -> InputError:
        """The error for a field of the image being read, by default the one at ``offset``."""
        at = self.offset if offset is None else offset
        return InputError(f"{self._function}: frame {self.frame}, byte {at}: {field} = {value}: {allowed}")

    def cut_off(self, what: str, wanted_bytes: int, got_bytes: int) -> InputError:
        """The error for an input that ends too early."""
        return self.wrong(what, f"{got_bytes} bytes", f"the input ends there, and {wanted_bytes} bytes were to come")
