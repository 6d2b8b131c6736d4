"""What an application may still use this month."""

from __future__ import annotations

from datetime import UTC, date, datetime

from django.db.models import Sum
from ninja import Schema

from acceleratorAPI.store.models import Application, UsageDay


class Quota(Schema):
    """What is left.

    Attributes:
        until: the first moment of the next month, UTC, when it begins anew.
        jobs: how many more, ``None`` for any number; never below 0.
        bytes: in and out, likewise.
    """

    until: datetime
    jobs: int | None = None
    bytes: int | None = None


def month_of(moment: datetime) -> date:
    """The first day of a moment's month, UTC."""
    return moment.astimezone(UTC).date().replace(day=1)


def next_month(month: date) -> date:
    """The first day of the month after."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def left(application: Application) -> Quota:
    """What ``application`` may still use, by the events that have arrived."""
    month = month_of(datetime.now(UTC))
    end = next_month(month)
    quota = Quota(until=datetime(end.year, end.month, end.day, tzinfo=UTC))
    if application.quota_jobs is None and application.quota_bytes is None:
        return quota
    used = UsageDay.objects.filter(application=application, day__gte=month, day__lt=end).aggregate(
        jobs=Sum("jobs"), read=Sum("bytes_in"), written=Sum("bytes_out")
    )
    if application.quota_jobs is not None:
        quota.jobs = max(0, application.quota_jobs - (used["jobs"] or 0))
    if application.quota_bytes is not None:
        quota.bytes = max(0, application.quota_bytes - (used["read"] or 0) - (used["written"] or 0))
    return quota
