"""Usage in: each event once for ever, sums right, contradictions seen; usage out."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from tenants import FakeNode, Tenant

from acceleratorAPI.node.outbox import Outbox
from acceleratorAPI.store import metering
from acceleratorAPI.store.models import AuditEntry, Function, FunctionVersion, UsageDay, UsageEvent
from acceleratorAPI.store.templatetags.figures import money

Make = Callable[..., Tenant]


def today(hour: int = 0) -> str:
    now = datetime.now(UTC)
    return (now - timedelta(hours=hour)).isoformat()


@pytest.fixture
def ada(tenant: Make) -> Tenant:
    return tenant("Ada")


@pytest.fixture
def node(ada: Tenant) -> FakeNode:
    made = FakeNode()
    assert made.register(ada).status_code == 200
    return made


def price(tenant: Tenant, job: int, gb: int, version: str = "1") -> FunctionVersion:
    function, _ = Function.objects.get_or_create(name="cast_gzip", owner=tenant.organisation)
    row = FunctionVersion.objects.create(
        function=function, version=version, title="t", card={}, price_job_nano=job, price_gb_nano=gb
    )
    row.move_to(FunctionVersion.State.PUBLISHED)
    return row


def test_a_batch_is_counted_once_however_often_it_comes(ada: Tenant, node: FakeNode) -> None:
    events = [node.event(ada, job, today()) for job in range(20)]
    first = node.report(events).json()
    assert sorted(first["accepted"]) == sorted(event["id"] for event in events)
    again = node.report(random.Random(3).sample(events, 20) + events[:5]).json()
    assert again["accepted"] == again["rejected"] == []
    assert sorted(again["duplicate"]) == sorted(event["id"] for event in events)
    assert UsageEvent.objects.count() == 20
    total = Client().get("/api/v1/usage", **ada.bearer()).json()["total"]
    assert (total["jobs"], total["bytes_in"], total["bytes_out"]) == (20, 20_000, 10_000)


def test_a_request_that_is_heard_and_sent_again_counts_nothing(ada: Tenant, node: FakeNode) -> None:
    events = [node.event(ada, job, today()) for job in range(3)]
    signature = node.sign(json.dumps(events).encode())
    assert len(node.report(events, signature).json()["accepted"]) == 3
    again = node.report(events, signature).json()
    assert (len(again["duplicate"]), again["accepted"]) == (3, [])
    assert UsageEvent.objects.count() == 3


def test_the_first_event_of_an_id_stays(ada: Tenant, node: FakeNode) -> None:
    node.report([node.event(ada, 1, when := today())])
    answer = node.report([node.event(ada, 1, when, bytes_in="9")]).json()
    assert "another event" in answer["rejected"][0]["reason"]
    assert UsageEvent.objects.get().bytes_in == 1000
    assert AuditEntry.objects.filter(action="usage.contradiction").exists()


def test_an_upgrade_between_a_lost_answer_and_the_next_try_changes_no_event(
    ada: Tenant, node: FakeNode, tmp_path: Path
) -> None:
    outbox = Outbox(tmp_path / "node.db")
    outbox.charge(1, ada.application.client_id)

    def end(job: int) -> None:
        with closing(sqlite3.connect(tmp_path / "node.db")) as database:
            database.execute(
                "INSERT INTO jobs (id, configuration, accelerator, created, processed_date, parameters, state,"
                " bytes_in, bytes_out) VALUES (?, 1, 'cast_gzip', ?, ?, '{}', 'succeeded', 10, 5)",
                (job, today(), today()),
            )
            database.commit()

    def report() -> Any:
        return node.report([event.model_dump(mode="json") for event in outbox.events(str(node.id), 500)]).json()

    outbox.note_versions({"cast_gzip": "1"})
    end(1)
    assert len(report()["accepted"]) == 1
    outbox.note_versions({"cast_gzip": "2"})
    end(2)
    answer = report()
    outbox.close()
    assert [len(answer[outcome]) for outcome in ("accepted", "duplicate", "rejected")] == [1, 1, 0]
    assert list(UsageEvent.objects.order_by("pk").values_list("job", "function_version")) == [("1", "1"), ("2", "2")]
    assert not AuditEntry.objects.filter(action="usage.contradiction").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"time": "2019-01-01T00:00:00Z"}, "days back"),
        ({"time": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}, "future"),
        ({"time": "2026-01-01T00:00:00"}, "time zone"),
        ({"subject": "somebody"}, "subject"),
        ({"source": "/nodes/0"}, "source"),
        ({"type": "other"}, "type"),
        ({"id": ""}, "id"),
        ({"id": "a\0"}, "zero"),
        ({"data": {}}, "data"),
        ({"specversion": "2.0"}, "specversion"),
    ],
)
def test_a_wrong_event_is_refused_alone(ada: Tenant, node: FakeNode, change: dict[str, Any], says: str) -> None:
    good, bad = node.event(ada, 1, today()), node.event(ada, 2, today()) | change
    answer = node.report([bad, good]).json()
    assert answer["accepted"] == [good["id"]]
    assert says in answer["rejected"][0]["reason"]


@pytest.mark.parametrize("item", [None, 7, "x", [], {}, {"id": 7}, {"id": "x" * 101}, {"data": {"bytes_in": -1}}])
def test_anything_may_come_in_a_batch(ada: Tenant, node: FakeNode, item: Any) -> None:
    answer = node.report([item])
    assert answer.status_code == 200
    assert len(answer.json()["rejected"]) == 1


@pytest.mark.parametrize("count", ["-1", str(2**63), "1.5", "many", None])
def test_counts_are_whole_and_fit(ada: Tenant, node: FakeNode, count: Any) -> None:
    assert len(node.report([node.event(ada, 1, today(), bytes_in=count)]).json()["rejected"]) == 1


def test_the_largest_count_is_exact(ada: Tenant, node: FakeNode) -> None:
    node.report([node.event(ada, 1, today(), bytes_in=str(2**62 + 1))])
    assert Client().get("/api/v1/usage", **ada.bearer()).json()["total"]["bytes_in"] == 2**62 + 1


def test_late_events_count_on_their_own_day(ada: Tenant, node: FakeNode) -> None:
    days = [datetime.now(UTC) - timedelta(days=back) for back in (0, 3, 9)]
    node.report([node.event(ada, number, day.isoformat()) for number, day in enumerate(days)])
    rows = Client().get("/api/v1/usage", **ada.bearer()).json()["rows"]
    assert [row["key"] for row in rows] == sorted(str(day.date()) for day in days)


def test_only_the_nodes_own_signature_over_this_body_is_taken(ada: Tenant, node: FakeNode) -> None:
    events, now = [node.event(ada, 1, today())], int(time.time())
    other = FakeNode()
    other.id = node.id
    wrong = [
        "x",
        "a.b.c",
        ada.token(),
        node.sign(b"another body"),
        node.sign(b"", exp=now - 1000),
        other.sign(b"[]"),
    ]
    assert {node.report(events, signature).status_code for signature in wrong} == {401}
    body = json.dumps(events).encode()
    for claims in ({"aud": "https://other"}, {"iss": "x"}, {"exp": now - 1000}, {"exp": now + 10**8}, {"sha256": None}):
        assert node.report(events, node.sign(body, **claims)).status_code == 401
    assert other.report(events).status_code == 401
    assert not UsageEvent.objects.exists()


def test_a_node_reports_only_those_who_showed_themselves_to_it(tenant: Make, ada: Tenant, node: FakeNode) -> None:
    bob = tenant("Bob")
    assert "subject" in node.report([node.event(bob, 1, today())]).json()["rejected"][0]["reason"]
    assert node.register(bob).status_code == 200
    assert node.report([node.event(bob, 1, today())]).json()["accepted"]


def test_a_node_keeps_its_key(tenant: Make, node: FakeNode) -> None:
    thief = FakeNode()
    thief.id = node.id
    assert thief.register(tenant("Bob")).status_code == 409


def test_cost_is_by_the_price_plan_and_failures_are_free(ada: Tenant, node: FakeNode) -> None:
    price(ada, job=5 * 10**6, gb=2 * 10**9)
    node.report(
        [
            node.event(ada, 1, today(), bytes_in=str(10**9), bytes_out=str(5 * 10**8)),
            node.event(ada, 2, today(), status="failed"),
            node.event(ada, 3, today(), status="cancelled"),
        ]
    )
    total = Client().get("/api/v1/usage", **ada.bearer()).json()["total"]
    assert total["cost_nano"] == 3 * 10**9 + 5 * 10**6
    assert (total["jobs"], total["failed"]) == (3, 2)


def test_a_new_price_changes_nothing_that_was_used(ada: Tenant, node: FakeNode) -> None:
    price(ada, job=10, gb=0)
    node.report([node.event(ada, 1, today())])
    price(ada, job=1000, gb=0, version="2")
    node.report([node.event(ada, 1, today()), node.event(ada, 2, today(), function_version="2")])
    assert sorted(UsageEvent.objects.values_list("cost_nano", flat=True)) == [10, 1000]


def test_sums_can_be_made_anew(ada: Tenant, node: FakeNode) -> None:
    node.report([node.event(ada, job, today(job), bytes_in=str(job)) for job in range(50)])
    sums = list(UsageDay.objects.order_by("day").values_list("day", "jobs", "bytes_in"))
    UsageDay.objects.update(jobs=0)
    metering.rebuild()
    assert list(UsageDay.objects.order_by("day").values_list("day", "jobs", "bytes_in")) == sums


def test_quotas_are_told_with_each_batch(ada: Tenant, node: FakeNode) -> None:
    ada.application.quota_jobs, ada.application.quota_bytes = 3, 10_000
    ada.application.save()
    answer = node.report([node.event(ada, job, today()) for job in range(2)]).json()
    left = answer["quotas"][ada.application.client_id]
    assert (left["jobs"], left["bytes"]) == (1, 7000)
    assert Client().get("/api/v1/me", **ada.bearer()).json()["quota"]["jobs"] == 1


def test_people_are_told_of_the_budget_once_a_share(ada: Tenant, node: FakeNode) -> None:
    price(ada, job=10**9, gb=0)
    ada.browser().post("/organisation/budget/", {"amount": "4.00"})
    for job in range(8):
        node.report([node.event(ada, job, today())])
    # The fourth job brings it from 75 to 100 %: nobody needs two mails for that.
    assert [message.subject.split()[0] for message in mail.outbox] == ["50", "100"]
    assert mail.outbox[0].to == ["ada@example.org"]


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0.00"), (10**6, "0.001"), (2 * 10**7, "0.02"), (1234, "0.000001"), (10**10, "10.00"), (5 * 10**8, "0.50")],
)
def test_amounts_are_as_long_as_they_must_be(nano: int, text: str) -> None:
    assert money(nano) == f"{text} EUR"


@pytest.mark.parametrize("by", ["day", "function", "application", "node"])
def test_sums_by_anything_have_the_same_total(ada: Tenant, node: FakeNode, by: str) -> None:
    node.report([node.event(ada, job, today(job), function=f"f{job % 3}") for job in range(30)])
    answer = Client().get(f"/api/v1/usage?by={by}", **ada.bearer()).json()
    assert answer["total"]["jobs"] == 30
    assert sum(row["jobs"] for row in answer["rows"]) == 30


def test_events_come_page_by_page_each_once(ada: Tenant, node: FakeNode) -> None:
    when = today()
    node.report([node.event(ada, job, when) for job in range(120)])
    seen: list[int] = []
    before = ""
    bearer = ada.bearer()
    while rows := Client().get(f"/api/v1/usage/events{before}", **bearer).json():
        seen += [row["id"] for row in rows]
        before = f"?before={seen[-1]}"
    assert len(seen) == len(set(seen)) == 120


def test_the_csv_holds_every_job_and_no_formula(ada: Tenant, node: FakeNode) -> None:
    node.report([node.event(ada, 1, today()), node.event(ada, 2, today(), function='=HYPERLINK("x")')])
    answer = Client().get("/api/v1/usage.csv", **ada.bearer())
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert len(rows) == 2
    assert rows[1]["function"].startswith("'=")
    assert rows[0]["client_id"] == ada.application.client_id


def test_a_batch_is_a_list_of_at_most_500(ada: Tenant, node: FakeNode) -> None:
    assert node.report([{}] * 501).status_code == 400
    assert node.report({"a": 1}).status_code == 400  # type: ignore[arg-type]


def test_the_number_of_queries_of_the_dashboard_is_fixed(
    ada: Tenant, node: FakeNode, django_assert_num_queries: Any
) -> None:
    browser = ada.browser()
    node.report([node.event(ada, job, today(job)) for job in range(3)])
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(
        connection,
    ) as few:
        assert browser.get("/usage/").status_code == 200
    for start in range(10, 400, 100):
        node.report(
            [node.event(ada, job, today(job % 99), function=f"f{job % 7}") for job in range(start, start + 100)]
        )
    with CaptureQueriesContext(connection) as many:
        assert browser.get("/usage/").status_code == 200
    assert len(many) == len(few) <= 10


@pytest.mark.parametrize(
    "query",
    [
        "from=2026-02-30",
        "from=x",
        "from=2026-05-02&to=2026-05-01",
        "from=2020-01-01",
        "by=x&measure=y",
        "to=0001-01-01",
        "to=9999-12-31",
    ],
)
def test_wrong_days_are_said_so(ada: Tenant, query: str) -> None:
    assert ada.browser().get(f"/usage/?{query}").status_code == 200
    assert ada.browser().get(f"/usage/jobs/?{query}&before=7").status_code == 200


def test_half_a_job_stands_on_no_axis(ada: Tenant, node: FakeNode) -> None:
    node.report([node.event(ada, job, today()) for job in range(2)])
    picture = ada.browser().get("/usage/chart.svg?measure=jobs").content.decode()
    labels = re.findall(r">([\d.]+)</text>", picture)
    assert {"0", "1", "2"} <= set(labels)
    assert "0.5" not in labels
    assert "0.2" not in labels
