"""The fold pipeline: order, what is not kept, errors."""

from __future__ import annotations

import io
import threading
import time

import pytest

from acceleratorAPI.drivers.fold import run_fold


@pytest.mark.parametrize("size_bytes", [0, 1, 99, 100, 101, 1000])
def test_all_of_the_input_in_order_on_one_other_thread(size_bytes: int) -> None:
    data = bytes(i % 251 for i in range(size_bytes))
    taken = bytearray()
    threads = set()

    def take(block: memoryview) -> None:
        time.sleep(0.001 if len(taken) % 300 == 0 else 0)
        threads.add(threading.get_ident())
        taken.extend(block)

    measured = run_fold(take, io.BytesIO(data), block_size=100)
    assert taken == data
    assert (measured.bytes_in, measured.bytes_out) == (size_bytes, 0)
    assert threading.get_ident() not in threads
    assert len(threads) == min(1, size_bytes)


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
