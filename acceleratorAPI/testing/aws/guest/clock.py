"""The instance's own elapsed time: faster than real time by a factor, and jumping when told to."""

from __future__ import annotations

import time


class Clock:
    """Seconds since the instance booted, as its timers and its ``/proc/uptime`` have them."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._booted_s = time.monotonic()
        self._jumped_s = 0.0

    def now_s(self) -> float:
        """Elapsed seconds, emulated."""
        return (time.monotonic() - self._booted_s) * self.scale + self._jumped_s

    def jump(self, seconds: float) -> None:
        """Let ``seconds`` pass at once."""
        self._jumped_s += seconds

    def real_s(self, emulated_s: float) -> float:
        """How long ``emulated_s`` seconds take."""
        return emulated_s / self.scale
