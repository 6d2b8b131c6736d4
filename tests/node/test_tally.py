from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from acceleratorAPI.node.tally import Histogram, Minute


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
