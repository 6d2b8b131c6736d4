"""The pipeline over pieces that a kernel cuts itself: order, bounds and errors."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acceleratorAPI.drivers.cpu import PieceKernel, run_pieces
from acceleratorAPI.drivers.ends import Intake


class Counted(PieceKernel[bytes]):
    """Pieces that begin with their size in a byte; their output is themselves."""

    def __init__(self, held_bytes: int = 1 << 20) -> None:
        self.held_bytes = held_bytes
        self.holds = 0
        self.most = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.done: list[bytes] = []

    def pieces(self, intake: Intake) -> Iterator[bytes]:
        size = memoryview(bytearray(1))
        while intake.fill(size):
            data = memoryview(bytearray(size[0]))
            assert intake.fill(data) == len(data)
            self.holds += len(data)
            self.in_flight += 1
            self.most = max(self.most, self.holds)
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            yield bytes(data)

    def size_bytes(self, piece: bytes) -> int:
        return len(piece)

    def run(self, piece: bytes) -> bytes:
        if piece[:1] == b"!":
            raise RuntimeError("bad piece")
        time.sleep(0.001 * (len(piece) % 3 == 0))
        return piece

    def written(self, piece: bytes) -> None:
        self.holds -= len(piece)
        self.in_flight -= 1
        self.done.append(piece)


def stream(pieces: list[bytes]) -> bytes:
    return b"".join(bytes([len(piece)]) + piece for piece in pieces)


@settings(max_examples=200, deadline=None)
@given(
    pieces=st.lists(st.binary(max_size=60).filter(lambda piece: piece[:1] != b"!"), max_size=40),
    threads=st.integers(1, 4),
    held_bytes=st.sampled_from([1, 50, 200, 1 << 20]),
)
def test_pieces_keep_their_order_and_bounds(pieces: list[bytes], threads: int, held_bytes: int) -> None:
    kernel, target = Counted(held_bytes), io.BytesIO()
    measured = run_pieces(kernel, io.BytesIO(stream(pieces)), target, threads)
    assert target.getvalue() == b"".join(pieces)
    assert kernel.done == pieces
    assert (measured.bytes_in, measured.bytes_out) == (len(stream(pieces)), len(target.getvalue()))
    assert measured.backend == "cpu"
    assert kernel.most_in_flight <= threads
    assert kernel.most < held_bytes + max(map(len, pieces), default=1)


def test_a_kernel_that_reads_nothing_needs_no_source() -> None:
    class Made(Counted):
        def pieces(self, intake: Intake) -> Iterator[bytes]:
            assert intake.fill(memoryview(bytearray(5))) == 0
            yield from (b"a", b"b", b"c")

    target = io.BytesIO()
    measured = run_pieces(Made(), None, target, 2)
    assert (target.getvalue(), measured.bytes_in, measured.bytes_out) == (b"abc", 0, 3)
    assert measured.kernel_s > 0


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_a_piece_is_raised_in_its_turn(threads: int) -> None:
    before = threading.active_count()
    target = io.BytesIO()
    with pytest.raises(RuntimeError, match="bad piece"):
        run_pieces(Counted(), io.BytesIO(stream([b"one", b"two", b"!", b"four"])), target, threads)
    assert target.getvalue() == b"onetwo"
    assert threading.active_count() == before


def test_an_error_of_the_splitter_ends_the_run() -> None:
    before = threading.active_count()
    with pytest.raises(AssertionError):
        run_pieces(Counted(), io.BytesIO(stream([b"one"]) + b"\x09short"), io.BytesIO(), 2)
    assert threading.active_count() == before
