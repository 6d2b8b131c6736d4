"""Usage events into the database, each once for ever, and the sums by day with them."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Annotated, Any

from django.db import connection, transaction
from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncDate
from pydantic import Field, TypeAdapter, ValidationError

from acceleratorAPI.errors import InputError
from acceleratorAPI.protocol.usage import MOST_EVENTS, OLDEST_S, BatchAnswer, QuotaLeft, Refusal
from acceleratorAPI.protocol.usage import UsageEvent as Event
from acceleratorAPI.store import budgets, metrics, quotas
from acceleratorAPI.store.bulk import insert_new
from acceleratorAPI.store.models import Application, AuditEntry, FunctionVersion, Node, UsageDay, UsageEvent

# A node may have been without the store for long; a clock may be wrong by a little.
OLDEST = timedelta(seconds=OLDEST_S)
AHEAD = timedelta(minutes=5)

_SUMS = ("jobs", "failed", "bytes_in", "bytes_out", "engine_us", "cost_nano")
_KEY = ("organisation_id", "application_id", "node_id", "function", "day")
_BATCH = TypeAdapter(Annotated[list[Event], Field(max_length=MOST_EVENTS)])


def take(node: Node, body: bytes) -> BatchAnswer:
    """Count the events of a batch that have not been counted; say of each what became of it.

    Raises:
        InputError: ``body`` is no JSON list of at most ``MOST_EVENTS`` items.
    """
    answer = BatchAnswer()
    applications = {
        grant.application.client_id: grant.application
        for grant in node.grants.select_related("application__organisation")
    }
    events = _sifted(body, node, applications, answer)
    digests = {identifier: digest_of(event) for identifier, event in events.items()}
    with transaction.atomic():
        new = _insert(node, events, digests, applications)
        _add_up(node, (events[identifier] for identifier in new), applications, new)
        _sort_out(node, digests, new, answer)
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
    keys = tuple(name.removesuffix("_id") for name in _KEY)
    days = UsageEvent.objects.annotate(day=TruncDate("time", tzinfo=UTC)).values(*keys)
    sums = {f"total_{name}": Sum(name) for name in ("bytes_in", "bytes_out", "engine_us", "cost_nano")}
    rows = days.annotate(total_jobs=Count("pk"), total_failed=Count("pk", filter=~Q(status="succeeded")), **sums)
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                # Batches that arrive meanwhile wait, and add to the new sums. (SQLite lets one write at a time.)
                cursor.execute(f"LOCK TABLE {UsageDay._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")
        UsageDay.objects.all().delete()
        made = (
            UsageDay(
                **{column: row[key] for column, key in zip(_KEY, keys, strict=True)},
                **{name: row[f"total_{name}"] for name in _SUMS},
            )
            for row in rows.order_by(*keys).iterator(5000)
        )
        while some := list(islice(made, 5000)):
            UsageDay.objects.bulk_create(some)
        return UsageDay.objects.count()


def _sifted(body: bytes, node: Node, applications: dict[str, Application], answer: BatchAnswer) -> dict[str, Event]:
    """The events that may be counted, by id; ``answer`` says why the others may not."""
    events: dict[str, Event] = {}
    source, now = node.source, datetime.now(UTC)
    for found in _parsed(body):
        if isinstance(found, Refusal):
            answer.rejected.append(found)
            continue
        reason = _objection(found, source, applications, now)
        if not reason and found.id in events and digest_of(events[found.id]) != digest_of(found):
            reason = "the batch has another event of this id"
        if reason:
            answer.rejected.append(Refusal(id=found.id, reason=reason))
        else:
            events[found.id] = found
    return events


def _parsed(body: bytes) -> Sequence[Event | Refusal]:
    try:
        return _BATCH.validate_json(body)
    except ValidationError:
        pass
    # One by one, so that a wrong one is refused alone.
    try:
        items = json.loads(body)
    except (ValueError, RecursionError):
        raise InputError("the body is no JSON") from None
    if not isinstance(items, list) or len(items) > MOST_EVENTS:
        raise InputError(f"the body is no list of at most {MOST_EVENTS} events")
    found: list[Event | Refusal] = []
    for item in items:
        try:
            found.append(Event.model_validate(item))
        except ValidationError as error:
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc'])) or 'event'}: {first['msg']}"
            found.append(Refusal(id=_id_of(item), reason=reason))
    return found


def _objection(event: Event, source: str, applications: Collection[str], now: datetime) -> str:
    """Why an event may not be counted; nothing when it may."""
    if event.source != source:
        return f"source is not {source}"
    if event.subject not in applications:
        return "subject has not shown itself to this node"
    if event.time > now + AHEAD:
        return "time lies in the future"
    if event.time < now - OLDEST:
        return f"time lies more than {OLDEST.days} days back"
    return ""


def _id_of(item: Any) -> str:
    found = item.get("id") if isinstance(item, dict) else None
    return found[:100] if isinstance(found, str) else ""


def _insert(
    node: Node, events: dict[str, Event], digests: dict[str, str], applications: dict[str, Application]
) -> dict[str, int]:
    """Add what is new; the cost of each of these, by event id."""
    prices = _prices({event.data.function for event in events.values()}) if events else {}
    moment = connection.ops.adapt_datetimefield_value
    same = {"source": node.source, "node_id": _uuid(node.pk), "received": str(moment(datetime.now(UTC)))}
    owners = {
        name: {"application_id": row.pk, "organisation_id": _uuid(row.organisation_id)}
        for name, row in applications.items()
    }
    costs = {identifier: _cost(event, prices) for identifier, event in events.items()}
    rows = [
        {
            **same,
            **owners[event.subject],
            **event.data.__dict__,
            "event_id": identifier,
            "digest": digests[identifier],
            "time": str(moment(event.time)),
            "cost_nano": costs[identifier],
        }
        # In one order, so that two batches with the same events never wait for each other in a ring.
        for identifier, event in sorted(events.items())
    ]
    added = insert_new(UsageEvent, rows, ("source", "event_id"), "event_id")
    return {identifier: cost for identifier, cost in costs.items() if identifier in added}


def _prices(names: set[str]) -> dict[tuple[str, str], FunctionVersion]:
    """By function and version, and by function alone for the version that is sold now."""
    found: dict[tuple[str, str], FunctionVersion] = {}
    versions = FunctionVersion.objects.exclude(state=FunctionVersion.State.DRAFT).select_related("function")
    for row in versions.filter(function__name__in=names).order_by("published", "pk"):
        found[row.function.name, row.version] = row
        if row.state == FunctionVersion.State.PUBLISHED:
            found[row.function.name, ""] = row
    return found


def _cost(event: Event, prices: dict[tuple[str, str], FunctionVersion]) -> int:
    """What a job costs, in 10^-9 of the currency. What failed or was cancelled is counted, not charged."""
    data = event.data
    price = prices.get((data.function, data.function_version)) or prices.get((data.function, ""))
    if price is None or data.status != "succeeded":
        return 0
    return price.cost_nano(data.bytes_in + data.bytes_out)


def _add_up(node: Node, events: Iterable[Event], applications: dict[str, Application], costs: dict[str, int]) -> None:
    """Add ``events`` to the sums by day, in one order, so that two batches never wait for each other in a ring."""
    sums: dict[tuple[str, str, date], list[int]] = defaultdict(lambda: [0] * len(_SUMS))
    for event in events:
        data = event.data
        failed = data.status != "succeeded"
        amounts = (1, failed, data.bytes_in, data.bytes_out, data.engine_us, costs[event.id])
        total = sums[event.subject, data.function, event.time.astimezone(UTC).date()]
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
    values = []
    for (subject, function, day), total in sorted(sums.items()):
        application = applications[subject]
        key = (_uuid(application.organisation_id), application.pk, _uuid(node.pk), function)
        values.append((*key, connection.ops.adapt_datefield_value(day), *total))
    with connection.cursor() as cursor:
        cursor.executemany(statement, values)


def _uuid(value: uuid.UUID) -> str:
    """As the database keeps it."""
    return str(Node._meta.pk.get_db_prep_value(value, connection))


def _sort_out(node: Node, digests: dict[str, str], new: Collection[str], answer: BatchAnswer) -> None:
    """What was there before: the same is a duplicate, something else a contradiction, and the first one stays."""
    old = [identifier for identifier in digests if identifier not in new]
    kept = dict(
        UsageEvent.objects.filter(source=node.source, event_id__in=old).values_list("event_id", "digest") if old else ()
    )
    for identifier, digest in digests.items():
        if identifier in new:
            answer.accepted.append(identifier)
        elif kept.get(identifier) == digest:
            answer.duplicate.append(identifier)
        else:
            answer.rejected.append(Refusal(id=identifier, reason="another event of this id came before; it stays"))
            AuditEntry.note("usage.contradiction", f"node {node.pk}", None, identifier)
