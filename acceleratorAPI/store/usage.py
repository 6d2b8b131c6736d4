"""Questions about usage: sums by day, function, application or node, single events, CSV. One query each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from django.db import models
from ninja import Schema

from acceleratorAPI.errors import InputError
from acceleratorAPI.store.models import Organisation, UsageDay, UsageEvent

By = Literal["day", "function", "application", "node"]
LONGEST_DAYS = 400
EVENTS_A_PAGE = 50
_COLUMNS: dict[str, tuple[str, ...]] = {
    "day": ("day",),
    "function": ("function",),
    "application": ("application__client_id", "application__name"),
    "node": ("node_id", "node__name"),
}
_SUMS = ("jobs", "failed", "bytes_in", "bytes_out", "engine_us", "cost_nano")
CSV_COLUMNS = (
    "time", "client_id", "function", "function_version", "node", "job", "status", "bytes_in", "bytes_out",
    "engine_us", "wall_us", "attempt", "cost_nano", "event_id",
)  # fmt: skip


class Sum(Schema):
    """What was used by one day, function, application or node; money in 10^-9 of the store's currency."""

    key: str  # the day, function, client id or node id
    name: str  # of it, for people
    jobs: int
    failed: int
    bytes_in: int
    bytes_out: int
    engine_us: int
    cost_nano: int


@dataclass(frozen=True)
class Span:
    """Days, both counted."""

    first: date
    last: date

    @classmethod
    def of(cls, first: date | None, last: date | None) -> Span:
        """The asked one; by default the last 30 days.

        Raises:
            InputError: it ends before it begins, or is too long.
        """
        last = last or datetime.now(UTC).date()
        if last < date(2000, 1, 1) or last > date(9000, 1, 1):
            raise InputError(f"to = {last}: use a day of this age")
        first = first or last - timedelta(days=29)
        if first > last:
            raise InputError(f"from = {first} comes after to = {last}")
        if (last - first).days >= LONGEST_DAYS:
            raise InputError(f"from = {first}, to = {last}: ask for at most {LONGEST_DAYS} days")
        return cls(first, last)

    @property
    def days(self) -> list[date]:
        """All of them."""
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]


def sums(organisation: Organisation, span: Span, by: By) -> list[Sum]:
    """The sums of ``span``; by day in its order, else the dearest and largest first."""
    columns = _COLUMNS[by]
    rows = (
        UsageDay.objects.filter(organisation=organisation, day__range=(span.first, span.last))
        .values(*columns)
        .annotate(**{f"total_{name}": models.Sum(name) for name in _SUMS})
        .order_by(*(("day",) if by == "day" else ("-total_cost_nano", "-total_bytes_in", columns[0])))
    )
    return [
        Sum(
            key=str(row[columns[0]]),
            name=str(row[columns[-1]] or row[columns[0]]),
            **{name: int(row[f"total_{name}"]) for name in _SUMS},
        )
        for row in rows
    ]


def total(rows: Sequence[Sum]) -> Sum:
    """All rows in one."""
    return Sum(key="total", name="total", **{name: sum(getattr(row, name) for row in rows) for name in _SUMS})


def events(organisation: Organisation, span: Span, before: int | None = None) -> list[UsageEvent]:
    """Single jobs, the newest first; ``before`` is the id of the last one of the page before."""
    rows = _events(organisation, span).order_by("-time", "-id")
    if before is not None:
        # Of the organisation's own alone: another's id says nothing.
        last = UsageEvent.objects.filter(organisation=organisation, pk=before).values_list("time", flat=True).first()
        if last is None:
            raise InputError(f"before = {before}: there is no such event")
        rows = rows.filter(models.Q(time__lt=last) | models.Q(time=last, pk__lt=before))
    return list(rows[:EVENTS_A_PAGE])


def as_csv(organisation: Organisation, span: Span) -> Iterator[str]:
    """All events of ``span`` as CSV, a piece at a time."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(CSV_COLUMNS)
    for row in _events(organisation, span).order_by("time", "id").iterator(2000):
        writer.writerow([_cell(value) for value in _values(row)])
        if buffer.tell() > 1 << 16:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _events(organisation: Organisation, span: Span) -> models.QuerySet[UsageEvent]:
    start = datetime(span.first.year, span.first.month, span.first.day, tzinfo=UTC)
    end = datetime(span.last.year, span.last.month, span.last.day, tzinfo=UTC) + timedelta(days=1)
    rows = UsageEvent.objects.filter(organisation=organisation, time__gte=start, time__lt=end)
    return rows.select_related("application")


def _values(row: UsageEvent) -> tuple[Any, ...]:
    moment = row.time.astimezone(UTC).isoformat().replace("+00:00", "Z")
    names = CSV_COLUMNS[2:4]
    return (
        moment,
        row.application.client_id,
        *(getattr(row, name) for name in names),
        row.node_id,
        *(getattr(row, name) for name in CSV_COLUMNS[5:]),
    )


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
