"""Usage events into the database, each once for ever, and the sums by day with them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from pydantic import ValidationError

from acceleratorAPI.protocol.usage import BatchAnswer, QuotaLeft, Refusal
from acceleratorAPI.protocol.usage import UsageEvent as Event
from acceleratorAPI.store import budgets, metrics, quotas
from acceleratorAPI.store.models import Application, AuditEntry, FunctionVersion, Node, UsageDay, UsageEvent

# A node may have been without the store for long; a clock may be wrong by a little.
OLDEST = timedelta(days=400)
AHEAD = timedelta(minutes=5)

_SUMS = ("jobs", "failed", "bytes_in", "bytes_out", "engine_us", "cost_nano")
_KEY = ("organisation_id", "application_id", "node_id", "function", "day")
_BY = tuple[Any, int, Any, str, date]


def take(node: Node, items: Sequence[Any]) -> BatchAnswer:
    """Count the events of ``items`` that have not been counted; say of each what became of it."""
    answer = BatchAnswer()
    applications = {
        grant.application.client_id: grant.application
        for grant in node.grants.select_related("application__organisation")
    }
    events: dict[str, Event] = {}
    for item in items:
        try:
            event = _checked(item, node, applications)
            if event.id in events and digest_of(events[event.id]) != digest_of(event):
                raise ValueError("the batch has another event of this id")
            if event.id in events:
                continue
            events[event.id] = event
        except ValueError as error:
            answer.rejected.append(Refusal(id=_id_of(item), reason=_reason(error)))
    with transaction.atomic():
        new = _insert(node, list(events.values()), applications)
        _add_up(new)
        _sort_out(node, events, {row.event_id for row in new}, answer)
        organisations = {application.organisation for application in applications.values()}
        Node.objects.filter(pk=node.pk).update(seen=datetime.now(UTC))
    for organisation in organisations if new else ():
        budgets.watch(organisation)
    for subject in {event.subject for event in events.values()}:
        answer.quotas[subject] = QuotaLeft(**quotas.left(applications[subject]).model_dump())
    for outcome in ("accepted", "duplicate", "rejected"):
        metrics.EVENTS.labels(outcome).inc(len(getattr(answer, outcome)))
    return answer


def digest_of(event: Event) -> str:
    """Of all that counts in an event."""
    return hashlib.sha256(event.model_dump_json().encode()).hexdigest()


def rebuild() -> int:
    """Make the sums by day anew from the events; how many there are."""
    with transaction.atomic():
        UsageDay.objects.all().delete()
        rows: list[UsageEvent] = []
        for row in UsageEvent.objects.order_by("pk").iterator(5000):
            rows.append(row)
            if len(rows) == 5000:
                _add_up(rows)
                rows = []
        _add_up(rows)
    return UsageDay.objects.count()


def _checked(item: Any, node: Node, applications: dict[str, Application]) -> Event:
    event = Event.model_validate(item)
    now = datetime.now(UTC)
    if event.source != node.source:
        raise ValueError(f"source is not {node.source}")
    if event.subject not in applications:
        raise ValueError("subject has not shown itself to this node")
    if event.time > now + AHEAD:
        raise ValueError("time lies in the future")
    if event.time < now - OLDEST:
        raise ValueError(f"time lies more than {OLDEST.days} days back")
    return event


def _id_of(item: Any) -> str:
    found = item.get("id") if isinstance(item, dict) else None
    return found[:100] if isinstance(found, str) else ""


def _reason(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'event'}: {first['msg']}"
    return str(error)


def _insert(node: Node, events: list[Event], applications: dict[str, Application]) -> list[UsageEvent]:
    """Add what is new; the database's constraint decides what is, whoever else adds the same."""
    if not events:
        return []
    prices = _prices({event.data.function for event in events})
    now = datetime.now(UTC)
    rows = [_row(event, node, applications[event.subject], prices, now) for event in events]
    fields = [field for field in UsageEvent._meta.concrete_fields if not field.primary_key]
    columns = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    marks = f"({', '.join(['%s'] * len(fields))})"
    values = [field.get_db_prep_save(field.pre_save(row, True), connection) for row in rows for field in fields]
    statement = (
        f"INSERT INTO {UsageEvent._meta.db_table} ({columns}) VALUES {', '.join([marks] * len(rows))}"  # noqa: S608
        " ON CONFLICT (source, event_id) DO NOTHING RETURNING event_id"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        added = {str(found[0]) for found in cursor.fetchall()}
    return [row for row in rows if row.event_id in added]


def _prices(names: set[str]) -> dict[tuple[str, str], FunctionVersion]:
    """By function and version, and by function alone for the version that is sold now."""
    found: dict[tuple[str, str], FunctionVersion] = {}
    versions = FunctionVersion.objects.exclude(state=FunctionVersion.State.DRAFT).select_related("function")
    for row in versions.filter(function__name__in=names).order_by("published", "pk"):
        found[row.function.name, row.version] = row
        if row.state == FunctionVersion.State.PUBLISHED:
            found[row.function.name, ""] = row
    return found


def _row(
    event: Event,
    node: Node,
    application: Application,
    prices: dict[tuple[str, str], FunctionVersion],
    now: datetime,
) -> UsageEvent:
    data = event.data
    price = prices.get((data.function, data.function_version)) or prices.get((data.function, ""))
    # What failed or was cancelled is counted, not charged.
    charged = price is not None and data.status == "succeeded"
    return UsageEvent(
        source=event.source,
        event_id=event.id,
        digest=digest_of(event),
        organisation_id=application.organisation_id,
        application_id=application.pk,
        node_id=node.pk,
        time=event.time,
        received=now,
        cost_nano=price.cost_nano(data.bytes_in + data.bytes_out) if charged and price else 0,
        **data.model_dump(include=_PLAIN),
    )


_PLAIN = {
    "job",
    "function",
    "function_version",
    "engine",
    "status",
    "attempt",
    "bytes_in",
    "bytes_out",
    "engine_us",
    "wall_us",
}


def _add_up(rows: Iterable[UsageEvent]) -> None:
    """Add ``rows`` to the sums, in one order, so that two batches never wait for each other in a ring."""
    sums: dict[_BY, list[int]] = defaultdict(lambda: [0] * len(_SUMS))
    for row in rows:
        key = (row.organisation_id, row.application_id, row.node_id, row.function, row.time.astimezone(UTC).date())
        total = sums[key]
        failed = int(row.status != "succeeded")
        amounts = (1, failed, row.bytes_in, row.bytes_out, row.engine_us, row.cost_nano)
        for place, amount in enumerate(amounts):
            total[place] += amount
    if not sums:
        return
    table = UsageDay._meta.db_table
    marks = ", ".join(["%s"] * (len(_KEY) + len(_SUMS)))
    adds = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in _SUMS)
    statement = (
        f"INSERT INTO {table} ({', '.join((*_KEY, *_SUMS))}) VALUES ({marks})"  # noqa: S608 - our own names
        f" ON CONFLICT (application_id, day, function, node_id) DO UPDATE SET {adds}"
    )
    prepared = [_prepared(key, total) for key, total in sorted(sums.items(), key=lambda pair: str(pair[0]))]
    with connection.cursor() as cursor:
        cursor.executemany(statement, prepared)


def _prepared(key: _BY, total: list[int]) -> tuple[Any, ...]:
    organisation, application, node, function, day = key
    uuid_field = UsageDay._meta.get_field("node").target_field
    return (
        uuid_field.get_db_prep_value(organisation, connection),
        application,
        uuid_field.get_db_prep_value(node, connection),
        function,
        connection.ops.adapt_datefield_value(day),
        *total,
    )


def _sort_out(node: Node, events: dict[str, Event], new: set[str], answer: BatchAnswer) -> None:
    """What was there before: the same is a duplicate, something else a contradiction, and the first one stays."""
    old = [identifier for identifier in events if identifier not in new]
    kept = dict(
        UsageEvent.objects.filter(source=node.source, event_id__in=old).values_list("event_id", "digest") if old else ()
    )
    for identifier, event in events.items():
        if identifier in new:
            answer.accepted.append(identifier)
        elif kept.get(identifier) == digest_of(event):
            answer.duplicate.append(identifier)
        else:
            answer.rejected.append(Refusal(id=identifier, reason="another event of this id came before; it stays"))
            AuditEntry.note("usage.contradiction", f"node {node.pk}", None, identifier)
