"""One ``.timer``: when it is due next, in the instance's own elapsed time."""

from __future__ import annotations

import datetime as dt

from acceleratorAPI.testing.aws.guest import units
from acceleratorAPI.testing.aws.guest.clock import Clock
from acceleratorAPI.testing.aws.guest.service import Service


class Timer:
    """A unit that starts another one."""

    def __init__(self, unit: units.Unit, service: Service, clock: Clock) -> None:
        self.unit = unit
        self.service = service
        self._clock = clock
        self._started_s = clock.now_s()
        self._triggered_s: float | None = None
        self._once = [(self._started_s + span) for span in self._spans("OnActiveSec")]
        self._once += [span for key in ("OnBootSec", "OnStartupSec") for span in self._spans(key)]
        self._calendar_s = self._next_calendar()

    def _spans(self, key: str) -> list[float]:
        return [units.span_s(value) for value in self.unit.all("Timer", key)]

    def _next_calendar(self) -> list[float]:
        now, wall = self._clock.now_s(), dt.datetime.now(dt.UTC)
        periods = [units.calendar_period_s(value, wall) for value in self.unit.all("Timer", "OnCalendar")]
        return [now + period for period in periods if period is not None]

    def due_s(self) -> float:
        """The next time it is due; infinity when it never is."""
        due = [*self._once, *self._calendar_s]
        active = max(self.service.left_inactive_s or -1.0, self._triggered_s or -1.0)
        if active >= 0:
            due += [active + span for span in self._spans("OnUnitActiveSec")]
        inactive = self.service.became_inactive_s
        if inactive is not None and self.service.state in ("inactive", "failed"):
            due += [inactive + span for span in self._spans("OnUnitInactiveSec")]
        return min(due, default=float("inf"))

    def trigger(self) -> None:
        """It was due: note it, so that the same time does not come again."""
        now = self._clock.now_s()
        self._triggered_s = now
        self._once = [at for at in self._once if at > now]
        if any(at <= now for at in self._calendar_s):
            self._calendar_s = self._next_calendar()
