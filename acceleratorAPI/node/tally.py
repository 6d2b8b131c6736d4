"""What a node has done since its start, as plain numbers. Changed in the event loop only."""

from __future__ import annotations

import bisect
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Literal

Flow = Literal["jobs", "requests", "bytes_in", "bytes_out", "received", "sent"]

WINDOW_S = 60
# A small file takes milliseconds, a big one hours.
JOB_SECONDS = (0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
# Most answers come in a millisecond; a long poll takes a minute, a transfer as long as it takes.
REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0)
# 1 KiB to 1 TiB, by eights.
JOB_BYTES = tuple(float(1 << power) for power in range(10, 41, 3))


class Histogram:
    """How many values fell below each bound, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Args:
        bounds: upper ones, ascending; what lies above the last is counted too.
        """
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count ``value``."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def cumulative(self) -> list[tuple[float, int]]:
        """Each bound, infinity last, with how many values are not above it."""
        found, count = [], 0
        for bound, here in zip((*self.bounds, float("inf")), self.counts, strict=True):
            count += here
            found.append((bound, count))
        return found


class Minute:
    """Sums over the last minute, by the second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        clock: seconds that never go back.
        """
        self._clock = clock
        self._started = clock()
        self._seconds: deque[tuple[int, Counter[str]]] = deque()

    def add(self, flow: Flow, amount: int) -> None:
        """Something happened now."""
        second = int(self._clock())
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, Counter()))
            self._forget(second)
        self._seconds[-1][1][flow] += amount

    def rates(self) -> dict[str, float]:
        """Each flow per second; of a younger node, over its life."""
        now = self._clock()
        self._forget(int(now))
        total: Counter[str] = Counter()
        for _, counts in self._seconds:
            total.update(counts)
        seconds = min(float(WINDOW_S), max(1.0, now - self._started))
        return {flow: amount / seconds for flow, amount in total.items()}

    def _forget(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second - WINDOW_S:
            self._seconds.popleft()


class Tally:
    """The numbers."""

    def __init__(self) -> None:
        self.started = time.time()
        self.minute = Minute()
        self.jobs: Counter[tuple[str, str]] = Counter()
        self.job_seconds: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(JOB_SECONDS))
        self.wait_seconds: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(JOB_SECONDS))
        self.input_bytes: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(JOB_BYTES))
        self.output_bytes: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(JOB_BYTES))
        self.kernel_seconds: defaultdict[str, float] = defaultdict(float)
        self.bytes_in = 0
        self.bytes_out = 0
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.request_seconds: defaultdict[tuple[str, str], Histogram] = defaultdict(lambda: Histogram(REQUEST_SECONDS))
        self.received = 0
        self.sent = 0
        self.uploads = 0

    def worked(self, bytes_in: int, bytes_out: int) -> None:
        """Functions have read and written so many bytes more (or fewer, when a job's own count corrects the first)."""
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out
        self.minute.add("bytes_in", max(0, bytes_in))
        self.minute.add("bytes_out", max(0, bytes_out))

    def received_bytes(self, count: int) -> None:
        """Body bytes came from clients."""
        self.received += count
        self.minute.add("received", count)

    def sent_bytes(self, count: int) -> None:
        """Body bytes went to clients."""
        self.sent += count
        self.minute.add("sent", count)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request is over."""
        self.requests[route, method, str(status)] += 1
        self.request_seconds[route, method].add(seconds)
        self.minute.add("requests", 1)
