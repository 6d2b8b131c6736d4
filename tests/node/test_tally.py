from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acceleratorAPI.node import status
from acceleratorAPI.node.tally import Histogram, Minute
from acceleratorAPI.protocol.status import SpoolStatus


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 20)))
def test_a_histogram_counts_what_is_not_above_each_bound(values: list[float]) -> None:
    histogram = Histogram((1.0, 5.0, 10.0))
    for value in values:
        histogram.add(value)
    bounds = (1.0, 5.0, 10.0, float("inf"))
    assert histogram.cumulative == [(bound, sum(value <= bound for value in values)) for bound in bounds]
    assert histogram.sum == sum(values)


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(0, 1000)), max_size=50))
def test_a_minute_forgets_what_is_older(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    minute = Minute(clock)
    clock.now += 100
    done = []
    for pause, amount in steps:
        clock.now += pause
        minute.add("sent", amount)
        done.append((int(clock.now), amount))
    recent = sum(amount for second, amount in done if second > int(clock.now) - 60)
    assert abs(minute.rates().get("sent", 0) - recent / 60) < 1e-9
    clock.now += 61
    assert minute.rates() == {}


def test_a_young_nodes_rates_are_over_its_life() -> None:
    clock = Clock()
    minute = Minute(clock)
    minute.add("jobs", 10)
    assert minute.rates()["jobs"] == 10
    clock.now += 5
    assert minute.rates()["jobs"] == 2


def test_a_big_spool_is_not_counted_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    counts = []

    def slow(folder: Path) -> SpoolStatus:
        clock.now += 0.5
        counts.append(folder)
        return SpoolStatus(files=len(counts), used_bytes=1, free_bytes=0)

    monkeypatch.setattr(status, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(status, "_spool", slow)
    counted = status.SpoolCount(tmp_path)
    for pause, files in ((0, 1), (9, 1), (2, 2), (1, 2)):
        clock.now += pause
        assert counted.read().files == files
    assert counted.read().free_bytes > 0


def test_the_spool_is_counted_with_its_folders(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "one").write_bytes(b"x" * 5000)
    (tmp_path / "inner" / "two").write_bytes(b"x" * 5000)
    (tmp_path / "link").symlink_to("/etc")
    found = status.SpoolCount(tmp_path).read()
    assert found.files == 3
    assert 10_000 <= found.used_bytes < 100_000
