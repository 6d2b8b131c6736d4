"""The metering dashboard: chart, tables, CSV."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime
from typing import Any, get_args
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render

from acceleratorAPI.errors import InputError
from acceleratorAPI.store import budgets, charts, usage
from acceleratorAPI.store.models import Membership
from acceleratorAPI.store.pages.context import member


def _span(request: HttpRequest) -> usage.Span:
    """The asked days.

    Raises:
        InputError: these are no days.
    """
    days: list[date | None] = []
    for name in ("from", "to"):
        text = request.GET.get(name, "")
        try:
            days.append(date.fromisoformat(text) if text else None)
        except ValueError:
            raise InputError(f"{name} = {text[:20]!r}: use a day like 2026-11-25") from None
    return usage.Span.of(*days)


def _asked(request: HttpRequest) -> tuple[usage.Span, usage.By, str, str]:
    wrong = ""
    try:
        span = _span(request)
    except InputError as error:
        span, wrong = usage.Span.of(None, None), str(error)
    by = request.GET.get("by", "day")
    measure = request.GET.get("measure", "jobs")
    return span, by if by in get_args(usage.By) else "day", measure if measure in charts.MEASURES else "jobs", wrong  # type: ignore[return-value]


@member
def dashboard(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Sums as chart and table; the newest jobs; the month."""
    span, by, measure, wrong = _asked(request)
    rows = usage.sums(membership.organisation, span, by)
    today = datetime.now(UTC).date()
    spent = budgets.spent_nano(membership.organisation)
    asked = {"from": span.first, "to": span.last, "by": by, "measure": measure}
    context: dict[str, Any] = {
        "span": span,
        "by": by,
        "measure": measure,
        "wrong": wrong,
        "rows": rows,
        "total": usage.total(rows),
        "events": usage.events(membership.organisation, span)[:10],
        "query": urlencode(asked),
        "measures": charts.MEASURES,
        "bys": get_args(usage.By),
        "spent_nano": spent,
        # What the month will cost when it goes on like this.
        "forecast_nano": spent * calendar.monthrange(today.year, today.month)[1] // today.day,
        "summary": charts.summary(rows, measure, by),
    }
    return render(request, "store/usage.html", context)


@member
def chart(request: HttpRequest, membership: Membership) -> HttpResponse:
    """The chart as SVG, in the colours of ``theme``."""
    span, by, measure, _ = _asked(request)
    rows = usage.sums(membership.organisation, span, by)
    picture = charts.bars(rows, span, by, measure, dark=request.GET.get("theme") == "dark")
    return HttpResponse(picture, content_type="image/svg+xml")


@member
def jobs(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Single jobs, page by page."""
    span, _, _, wrong = _asked(request)
    before = request.GET.get("before", "")
    try:
        number = int(before) if before.isdecimal() and len(before) < 19 else None
        rows = usage.events(membership.organisation, span, number)
    except InputError as error:
        rows, wrong = [], str(error)
    more = (
        urlencode({"from": span.first, "to": span.last, "before": rows[-1].pk})
        if len(rows) == usage.EVENTS_A_PAGE
        else ""
    )
    return render(request, "store/jobs.html", {"events": rows, "span": span, "wrong": wrong, "more": more})


@member
def export(request: HttpRequest, membership: Membership) -> HttpResponseBase:
    """Every job of these days as CSV."""
    span, _, _, _ = _asked(request)
    answer = StreamingHttpResponse(usage.as_csv(membership.organisation, span), content_type="text/csv")
    answer["Content-Disposition"] = f'attachment; filename="usage-{span.first}-{span.last}.csv"'
    return answer
