"""The fold pipeline: order, what is not kept, errors."""

from __future__ import annotations

import io
import threading
import time

import pytest

from acceleratorAPI.drivers.fold import run_fold


@pytest.mark.parametrize("size_bytes", [0, 1, 99, 100, 101, 1000])
def test_all_of_the_input_in_order_one_block_at_a_time(size_bytes: int) -> None:
    data = bytes(i % 251 for i in range(size_bytes))
    taken = bytearray()
    inside = threading.Lock()

    def take(block: memoryview) -> None:
        assert inside.acquire(blocking=False)
        time.sleep(0.001 if len(taken) % 300 == 0 else 0)
        taken.extend(block)
        inside.release()

    measured = run_fold(take, io.BytesIO(data), block_size=100)
    assert taken == data
    assert (measured.bytes_in, measured.bytes_out) == (size_bytes, 0)


def test_reading_goes_on_while_a_block_is_taken() -> None:
    read = threading.Event()

    class Watched(io.BytesIO):
        def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
            if self.tell():
                read.set()
            return super().readinto(buffer)

    def take(block: memoryview) -> None:
        assert read.wait(30)

    run_fold(take, Watched(bytes(20)), block_size=10)


def test_an_error_while_taking_ends_the_run() -> None:
    def take(block: memoryview) -> None:
        raise RuntimeError("no more")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="no more"):
        run_fold(take, io.BytesIO(bytes(1000)), block_size=10)
    assert threading.active_count() == before


def test_an_error_of_the_input_ends_the_run() -> None:
    class Broken:
        def readinto(self, buffer: memoryview, /) -> int:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        run_fold(lambda block: None, Broken())
