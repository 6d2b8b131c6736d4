from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from acceleratorAPI.drivers.ahead import Pieces, Producer, Submit, run_ahead
from acceleratorAPI.drivers.base import Source


class Upper(Producer):
    """Blocks of three bytes in capitals, every second one on another core."""

    def __init__(self) -> None:
        self.made = 0

    def pieces(self, source: Source, submit: Submit) -> Iterator[bytes | Future[Pieces]]:
        buffer = bytearray(3)
        while count := source.readinto(memoryview(buffer)):
            data = bytes(buffer[:count])
            self.made += 1
            yield data.upper() if self.made % 2 else submit(self._later(data))

    @staticmethod
    def _later(data: bytes) -> Callable[[], Pieces]:
        return lambda: [data[:1].upper(), data[1:].upper()]


class Failing(Upper):
    def pieces(self, source: Source, submit: Submit) -> Iterator[bytes | Future[Pieces]]:
        yield from super().pieces(source, submit)
        raise KeyError("behind the last piece")


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(("producer", "kernel"))}


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_order_counts_and_threads(cores: int) -> None:
    data = bytes(range(97, 123)) * 1000
    target = io.BytesIO()
    measured = run_ahead(Upper(), io.BytesIO(data), target, cores)
    assert target.getvalue() == data.upper()
    assert (measured.backend, measured.bytes_in, measured.bytes_out) == ("cpu", len(data), len(data))
    assert measured.kernel_s > 0
    assert threads() == set()


def test_an_error_of_the_producer_comes_after_what_it_made() -> None:
    target = io.BytesIO()
    with pytest.raises(KeyError, match="behind the last piece"):
        run_ahead(Failing(), io.BytesIO(b"abcdefgh"), target, 2)
    assert target.getvalue() == b"ABCDEFGH"
    assert threads() == set()


def test_an_error_on_another_core_ends_the_run() -> None:
    class Broken(Producer):
        def pieces(self, source: Source, submit: Submit) -> Iterator[bytes | Future[Pieces]]:
            yield b"good"
            yield submit(self._fail)
            while True:
                yield b"endless"

        def _fail(self) -> Pieces:
            raise ZeroDivisionError("on a core")

    target = io.BytesIO()
    with pytest.raises(ZeroDivisionError):
        run_ahead(Broken(), io.BytesIO(b""), target, 2)
    assert target.getvalue() == b"good"
    assert threads() == set()


def test_the_producer_is_held_back_by_a_slow_output_and_stopped_by_a_broken_one() -> None:
    class Full:
        def write(self, _data: memoryview, /) -> int:
            time.sleep(0.2)
            raise OSError("the disk is full")

    producer = Upper()
    with pytest.raises(OSError, match="the disk is full"):
        run_ahead(producer, io.BytesIO(bytes(300_000)), Full(), 2)
    assert producer.made <= 2 * 4 + 2
    assert threads() == set()


def test_non_blocking_ends_are_named() -> None:
    class Nothing:
        def readinto(self, _buffer: memoryview, /) -> None:
            return None

        def write(self, _data: memoryview, /) -> None:
            return None

    with pytest.raises(BlockingIOError, match="input"):
        run_ahead(Upper(), Nothing(), io.BytesIO(), 1)
    with pytest.raises(BlockingIOError, match="output"):
        run_ahead(Upper(), io.BytesIO(b"abc"), Nothing(), 1)
