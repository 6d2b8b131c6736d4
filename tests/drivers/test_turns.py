"""Work in turns: order, bounds, errors from every step, and no thread left behind."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acceleratorAPI.drivers.turns import Turns


class Numbers(Turns[int, int]):
    """The numbers below ``count``; ``fails`` names the step and number at which it fails."""

    def __init__(self, count: int, fails: tuple[str, int] | None = None, delays: tuple[int, ...] = (0,)) -> None:
        super().__init__()
        self.given: list[int] = []
        self.left: list[int] = []
        self.held = self.most_held = self.computing = self.most_computing = 0
        self._count = count
        self._fails = fails
        self._delays = delays
        self._next = 0
        self._lock = threading.Lock()
        self._ordered = threading.Lock()

    def take(self) -> int | None:
        self._meet("take", self._next)
        if self._next == self._count:
            return None
        self._next += 1
        with self._lock:
            self.held += 1
            self.most_held = max(self.held, self.most_held)
        return self._next - 1

    def compute(self, work: int) -> int:
        with self._lock:
            self.computing += 1
            self.most_computing = max(self.computing, self.most_computing)
        time.sleep(self._delays[work % len(self._delays)] / 10_000)
        with self._lock:
            self.computing -= 1
        self._meet("compute", work)
        return -work

    def give(self, work: int, result: int) -> None:
        with self._alone():
            assert result == -work
            self._meet("give", work)
            self.given.append(work)

    def leave(self, work: int) -> None:
        with self._lock:
            self.held -= 1
            self.left.append(work)

    def _alone(self) -> threading.Lock:
        assert not self._ordered.locked()
        return self._ordered

    def _meet(self, step: str, number: int) -> None:
        if (step, number) == self._fails:
            raise ZeroDivisionError(f"{step} {number}")


@settings(max_examples=100, deadline=None)
@given(
    count=st.integers(0, 40),
    cores=st.integers(1, 4),
    delays=st.lists(st.integers(0, 3), min_size=1, max_size=7).map(tuple),
)
def test_all_in_order_and_within_bounds(count: int, cores: int, delays: tuple[int, ...]) -> None:
    numbers = Numbers(count, delays=delays)
    numbers.run(cores)
    assert numbers.given == numbers.left == list(range(count))
    assert numbers.most_computing <= cores
    assert numbers.most_held <= cores


@pytest.mark.parametrize("step", ["take", "compute", "give"])
@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("at", [0, 1, 17])
def test_an_error_is_raised_when_all_before_it_is_given(step: str, cores: int, at: int) -> None:
    before = threading.active_count()
    numbers = Numbers(100, (step, at), delays=(3, 0, 1))
    with pytest.raises(ZeroDivisionError, match=f"{step} {at}"):
        numbers.run(cores)
    assert numbers.given == list(range(at))
    assert numbers.left == list(range(len(numbers.left)))
    assert numbers.held == 0
    assert threading.active_count() == before


def test_when_no_thread_can_be_started_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, 0

    def refuse(thread: threading.Thread) -> None:
        nonlocal started
        started += 1
        if started == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    before = threading.active_count()
    numbers = Numbers(1000, delays=(10,))
    with pytest.raises(RuntimeError, match="start new thread"):
        numbers.run(3)
    assert threading.active_count() == before
    assert numbers.held == 0
    assert len(numbers.given) < 1000


def test_the_first_of_two_errors_counts_though_it_comes_last() -> None:
    class Both(Numbers):
        def compute(self, work: int) -> int:
            time.sleep(0.05 * (work == 0))
            raise ZeroDivisionError(f"compute {work}")

    with pytest.raises(ZeroDivisionError, match="compute 0"):
        Both(2).run(2)


def test_what_is_done_is_given_while_the_next_work_is_waited_for() -> None:
    class Slow(Numbers):
        def take(self) -> int | None:
            if self._next == 1:
                deadline = time.monotonic() + 30
                while not self.given and time.monotonic() < deadline:
                    time.sleep(0.001)
                assert self.given == [0]
            return super().take()

    numbers = Slow(3)
    numbers.run(2)
    assert numbers.given == [0, 1, 2]


class Chain(Turns[int, int]):
    """Each work waits for the one before it to be computed, as the pieces of one digest do."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.computed = [threading.Event() for _ in range(count)]
        self._next = 0

    def take(self) -> int | None:
        self._next += 1
        return self._next - 1 if self._next <= len(self.computed) else None

    def compute(self, work: int) -> int:
        assert work == 0 or self.computed[work - 1].wait(5), f"work {work - 1} waits for a core"
        time.sleep(0.005)  # others wait for a core meanwhile
        self.computed[work].set()
        return work

    def give(self, work: int, result: int) -> None:
        pass

    def leave(self, work: int) -> None:
        pass


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_a_work_may_wait_for_the_one_before_it(cores: int) -> None:
    chain = Chain(30)
    chain.run(cores)
    assert all(event.is_set() for event in chain.computed)
