"""What transfers reckon with: pieces in any order, the pace of a line, when to try again."""

from __future__ import annotations

import itertools
import random
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from crc32c import crc32c

from acceleratorAPI.client import retry
from acceleratorAPI.client.connection import _retry_after_s
from acceleratorAPI.client.pace import PIECE_BYTES, Pace, connections
from acceleratorAPI.errors import DiskFullError, NodeBusyError, NodeUnreachableError
from acceleratorAPI.protocol.joined import Joined, combine


@pytest.mark.parametrize("size", [0, 1, 7, 255, 256, 65_537])
def test_checksums_are_put_together(size: int) -> None:
    data = random.Random(size).randbytes(size)
    for cut in {0, size, size // 2, size // 3}:
        assert combine(crc32c(data[:cut]), crc32c(data[cut:]), size - cut) == crc32c(data)


def test_the_checksum_of_many_zeros() -> None:
    """Beyond 2^32 bytes, where the bytes themselves would take long: a doubling at a time."""
    crc, size = crc32c(bytes(1 << 20)), 1 << 20
    while size < 1 << 24:
        crc, size = combine(crc, crc, size), 2 * size
    assert crc == crc32c(bytes(1 << 24))


@pytest.mark.parametrize("seed", range(5))
def test_pieces_come_in_any_order_and_twice(seed: int) -> None:
    chance = random.Random(seed)
    data = chance.randbytes(10_000)
    borders = sorted({0, 10_000, *chance.sample(range(10_000), 30)})
    pieces = [(begin, data[begin:end]) for begin, end in itertools.pairwise(borders)]
    order = pieces + chance.sample(pieces, 10)
    chance.shuffle(order)
    joined = Joined()
    for begin, piece in order:
        joined.add(begin, len(piece), crc32c(piece))
        assert joined.crc32c == crc32c(data[: joined.end])
        assert begin in joined
    assert joined.end == len(data)


def test_pieces_adapt_to_the_line() -> None:
    pace = Pace()
    first = pace.size_bytes
    while pace.size_bytes < PIECE_BYTES:
        pace.took(pace.size_bytes, 0.1)
    pace.took(PIECE_BYTES, 0.1)
    assert pace.size_bytes == PIECE_BYTES
    pace.took(PIECE_BYTES, 5)
    assert pace.size_bytes == PIECE_BYTES
    pace.took(PIECE_BYTES, 20)
    assert pace.size_bytes == PIECE_BYTES // 2
    for _ in range(50):
        pace.cut()
    assert 0 < pace.size_bytes < first


@pytest.mark.parametrize(
    ("url", "size_bytes", "wanted", "number"),
    [
        ("http://127.0.0.1:8000", 1 << 40, None, 1),
        ("http://localhost:8000", 1 << 40, None, 1),
        ("http://[::1]:8000", 1 << 40, None, 1),
        ("https://node.example.org", 1 << 40, None, 4),
        ("https://node.example.org", 256 << 20, None, 1),
        ("https://node.example.org", 1 << 40, 1, 1),
        ("http://127.0.0.1:8000", 9 << 20, 3, 3),
        ("http://127.0.0.1:8000", PIECE_BYTES, 3, 1),
    ],
)
def test_several_connections_where_they_help(url: str, size_bytes: int, wanted: int | None, number: int) -> None:
    assert connections(url, size_bytes, wanted) == number


def test_waits_are_random_bounded_and_never_shorter_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    backoff = retry.Backoff()
    busy = NodeBusyError("full")
    busy.retry_after_s = 40.0

    def wait_for_ever() -> None:
        while True:
            backoff.wait(busy)

    with pytest.raises(NodeBusyError):
        wait_for_ever()
    assert all(40 <= wait_s <= 40 + retry.LONGEST_S for wait_s in waits)
    assert len(set(waits)) == len(waits) <= retry.PATIENCE_S / 40
    waits.clear()
    backoff.progress()
    cut = NodeUnreachableError("cut")
    for _ in range(1000):
        backoff.wait(cut)
        backoff.progress()
    assert max(waits) < 1
    with pytest.raises(DiskFullError):
        backoff.wait(DiskFullError("full"))
    with pytest.raises(NodeUnreachableError):
        retry.Backoff(lambda: True).wait(cut)


def test_retry_after_is_seconds_or_a_date() -> None:
    assert _retry_after_s("7", 1.0) == 7
    assert _retry_after_s("", 3.0) == 3
    assert _retry_after_s("soon", 3.0) == 3
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert 3500 < _retry_after_s(later, 1.0) <= 3600
    assert _retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT", 1.0) == 0
