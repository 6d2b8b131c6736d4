"""The block pipeline: order, borders, bounds and errors."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acceleratorAPI.drivers.cpu import BlockKernel, run_blocks


class Spy(BlockKernel[tuple[int, int]]):
    """Copies its regions, and checks each window against the whole input."""

    def __init__(
        self, data: bytes, block_size: int, lookbehind: int = 0, cut: Callable[[memoryview, int], int] | None = None
    ) -> None:
        self.data = data
        self.block_size = block_size
        self.lookbehind = lookbehind
        self.notes: list[tuple[int, int]] = []
        self.windows: list[tuple[bytes, int]] = []
        self.lock = threading.Lock()
        self._cut = cut

    def head(self) -> bytes:
        return b"<"

    def tail(self) -> bytes:
        return b">"

    def cut(self, window: memoryview, start: int) -> int:
        return self._cut(window, start) if self._cut else super().cut(window, start)

    def run(self, window: memoryview, start: int) -> tuple[bytes, tuple[int, int]]:
        with self.lock:
            self.windows.append((bytes(window), start))
        return bytes(window[start:]), (start, len(window) - start)

    def collect(self, note: tuple[int, int]) -> None:
        self.notes.append(note)


def run(kernel: Spy, threads: int = 2) -> bytes:
    target = io.BytesIO()
    measured = run_blocks(kernel, io.BytesIO(kernel.data), target, threads)
    assert measured.backend == "cpu"
    assert measured.bytes_in == len(kernel.data)
    assert measured.bytes_out == len(target.getvalue())
    return target.getvalue()


@pytest.mark.parametrize("size_bytes", [0, 1, 9, 10, 11, 20, 1000])
@pytest.mark.parametrize("lookbehind", [0, 1, 10, 35])
def test_regions_follow_each_other_and_see_what_was_before(size_bytes: int, lookbehind: int) -> None:
    data = bytes(i % 251 for i in range(size_bytes))
    kernel = Spy(data, 10, lookbehind)
    assert run(kernel) == b"<" + data + b">"
    at = 0
    for start, size in kernel.notes:
        assert start == min(at, lookbehind)
        assert (data[at - start : at + size], start) in kernel.windows
        at += size
    assert at == size_bytes


def test_nothing_is_run_on_no_input() -> None:
    kernel = Spy(b"", 10)
    assert run(kernel) == b"<>"
    assert kernel.windows == []


@settings(max_examples=200, deadline=None)
@given(
    data=st.binary(max_size=300),
    block_size=st.integers(1, 40),
    lookbehind=st.integers(0, 50),
    keep=st.integers(0, 39),
    threads=st.integers(1, 4),
)
def test_what_a_cut_leaves_goes_to_the_next_block(
    data: bytes, block_size: int, lookbehind: int, keep: int, threads: int
) -> None:
    def cut(window: memoryview, start: int) -> int:
        assert len(window) - start == block_size
        return max(start + 1, len(window) - keep)

    assert run(Spy(data, block_size, lookbehind, cut), threads) == b"<" + data + b">"


def test_output_keeps_the_order_when_blocks_end_out_of_order() -> None:
    class Uneven(Spy):
        def run(self, window: memoryview, start: int) -> tuple[bytes, tuple[int, int]]:
            if window[start] % 3 == 0:
                time.sleep(0.005)
            return super().run(window, start)

    data = bytes(range(200))
    kernel = Uneven(data, 1)
    assert run(kernel, threads=4) == b"<" + data + b">"


def test_few_blocks_are_in_flight_when_the_kernel_is_slow() -> None:
    gate = threading.Event()
    source_read = 0

    class Counting(io.BytesIO):
        def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
            nonlocal source_read
            count = super().readinto(buffer)
            source_read += count
            return count

    class Stuck(Spy):
        def run(self, window: memoryview, start: int) -> tuple[bytes, tuple[int, int]]:
            gate.wait(30)
            return super().run(window, start)

    data = bytes(100_000)
    kernel = Stuck(data, 100)
    runner = threading.Thread(target=run_blocks, args=(kernel, Counting(data), io.BytesIO(), 2))
    runner.start()
    seen = -1
    while seen != source_read:
        seen = source_read
        time.sleep(0.05)
    gate.set()
    runner.join(30)
    assert 0 < seen <= 100 * 8


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_the_kernel_is_raised_and_ends_the_run(threads: int) -> None:
    class Failing(Spy):
        def run(self, window: memoryview, start: int) -> tuple[bytes, tuple[int, int]]:
            if window[start] == 50:
                raise RuntimeError("bad block")
            return super().run(window, start)

    before = threading.active_count()
    target = io.BytesIO()
    data = bytes(range(250))
    with pytest.raises(RuntimeError, match="bad block"):
        run_blocks(Failing(data, 1), io.BytesIO(data), target, threads)
    assert target.getvalue() == b"<" + data[:50]
    assert threading.active_count() == before


def test_an_error_of_the_target_ends_the_run() -> None:
    class Full:
        def write(self, data: memoryview, /) -> int:
            raise OSError("full")

    before = threading.active_count()
    with pytest.raises(OSError, match="full"):
        run_blocks(Spy(b"abc", 1), io.BytesIO(b"abc"), Full(), 2)
    assert threading.active_count() == before


def test_non_blocking_source_and_target_are_refused() -> None:
    class Dry:
        def readinto(self, buffer: memoryview, /) -> int | None:
            return None

    class Plugged:
        def write(self, data: memoryview, /) -> int | None:
            return None

    with pytest.raises(BlockingIOError, match="input"):
        run_blocks(Spy(b"", 1), Dry(), io.BytesIO(), 1)
    with pytest.raises(BlockingIOError, match="output"):
        run_blocks(Spy(b"", 1), io.BytesIO(b"a"), Plugged(), 1)


@pytest.mark.parametrize("position", [0, -1, 11])
def test_a_cut_outside_the_region_is_an_error(position: int) -> None:
    with pytest.raises(ValueError, match="cut gave"):
        run(Spy(bytes(100), 10, 0, lambda _window, _start: position))
