"""The dashboard with millions of events on PostgreSQL: how many queries each page asks, and how each is answered.

Fills a new server's database, asks each page by HTTP's own handler, and fails when the number of queries depends on the
number of events, or when one reads the table of events from end to end.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "support"))

import postgres

FEW = 1000
DAYS = 365
PAGES = (
    "/usage/",
    "/usage/?by=function&measure=bytes",
    "/usage/?by=application&measure=cost",
    "/usage/?by=node",
    "/usage/chart.svg",
    "/usage/jobs/",
    "/keys/",
    "/organisation/",
)
# Ten organisations with four applications and four nodes each; one of them is looked at.
_PLACES = """
INSERT INTO store_node (id, name, public_key, provider, region, version, created)
  SELECT md5('node' || n)::uuid, 'node ' || n, '{}', '', '', '', now() FROM generate_series(0, 39) n;
"""
_EVENTS = """
INSERT INTO store_usageevent (source, event_id, digest, organisation_id, application_id, node_id, time, received, job,
  function, function_version, engine, status, bytes_in, bytes_out, engine_us, wall_us, attempt, cost_nano)
SELECT '/nodes/' || md5('node' || n % 40), md5('event' || n), repeat(md5(n::text), 2), owned.organisation_id, owned.id,
  md5('node' || n % 40)::uuid, now() - (n::bigint * 86400 * {days} / {span}) * interval '1 second', now(), n::text,
  'function_' || n % 7, '1', 'cpu', CASE n % 11 WHEN 0 THEN 'failed' ELSE 'succeeded' END, n, n, n, n, 1, n
FROM generate_series({first}, {last}) n JOIN owned ON owned.place = n % 40;
"""
_OWNED = """
CREATE TEMP TABLE owned AS
  SELECT id, organisation_id, row_number() OVER (ORDER BY id) - 1 AS place FROM store_application;
"""


def main(events: int) -> int:
    with postgres.server(durable=False) as url:
        os.environ["DATABASE_URL"] = url
        return _soak(events)


def _soak(events: int) -> int:
    import tenants  # makes Django ready
    from django.test.utils import setup_test_environment

    from acceleratorAPI.store import metering, operate
    from acceleratorAPI.store.models import Application

    setup_test_environment()
    operate.migrate()
    made = [tenants.make_tenant(f"Tenant{number}") for number in range(10)]
    for tenant in made:
        for number in range(3):
            Application.make(tenant.organisation, f"more {number}")
    browser = made[0].browser()
    # The rows are right: checking each foreign key would take half the time.
    _execute(
        "SET session_replication_role = replica",
        _PLACES,
        _OWNED,
        _EVENTS.format(days=DAYS, first=1, last=FEW, span=FEW),
    )
    metering.rebuild()
    few = {page: len(_asked(browser, page)) for page in PAGES}
    started = time.monotonic()
    _fill(events)
    filled_s = time.monotonic() - started
    started = time.monotonic()
    days = metering.rebuild()
    rebuilt_s = time.monotonic() - started
    _execute("VACUUM ANALYZE", "RESET session_replication_role")
    print(json.dumps({"events": events, "days": days, "fill_s": round(filled_s), "rebuild_s": round(rebuilt_s)}))
    return sum(_shown(page, _asked(browser, page), few[page]) for page in PAGES)


def _fill(events: int) -> None:
    """Bring the events in; indexes are made at the end, in a fraction of the time."""
    from django.db import connection

    from acceleratorAPI.store.models import UsageEvent

    meta, step = UsageEvent._meta, 1_000_000
    with connection.schema_editor() as editor:
        for index in meta.indexes:
            editor.remove_index(UsageEvent, index)
        for constraint in meta.constraints:
            editor.remove_constraint(UsageEvent, constraint)
    for first in range(FEW + 1, events + 1, step):
        _execute(_EVENTS.format(days=DAYS, first=first, last=min(first + step - 1, events), span=events))
        print(f"{first + step - 1} events", file=sys.stderr, flush=True)
    with connection.schema_editor() as editor:
        for constraint in meta.constraints:
            editor.add_constraint(UsageEvent, constraint)
        for index in meta.indexes:
            editor.add_index(UsageEvent, index)


def _execute(*statements: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _asked(browser: Any, page: str) -> list[str]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        assert browser.get(page).status_code == 200, page
    return [query["sql"] for query in queries.captured_queries]


def _shown(page: str, queries: list[str], few: int) -> int:
    """Print the plans of a page's queries of usage; how much is wrong with it."""
    from django.db import connection

    wrong = int(len(queries) != few)
    started = time.perf_counter()
    print(f"\n{page}: {len(queries)} queries, {few} with {FEW} events{' WRONG' if wrong else ''}")
    for sql in queries:
        if "store_usage" not in sql:
            continue
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN (ANALYZE, COSTS OFF, SUMMARY ON) " + sql)
            plan = [row[0] for row in cursor.fetchall()]
        scanned = [line for line in plan if "Seq Scan on store_usageevent" in line]
        wrong += len(scanned)
        print(*(f"  {line}" for line in plan if "Scan" in line or "Execution" in line), sep="\n")
    print(f"  planned and run in {1000 * (time.perf_counter() - started):.0f} ms")
    return wrong


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000) else 0)
