"""The store on a real PostgreSQL: batches at the same time, the pages' plans, backup and restore by its own tools."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import postgres
import pytest
import urllib3
from stores import StoreProcess
from tenants import FakeNode

from acceleratorAPI.client.store import StoreClient

pytestmark = pytest.mark.skipif(not postgres.installed(), reason=postgres.MISSING)


@dataclass
class Running:
    """A store on PostgreSQL, and a node that reports for a key of it."""

    store: StoreProcess
    database: str
    client_id: str
    secret: str
    node: FakeNode

    def event(self, job: int, **data: str) -> dict[str, Any]:
        values = {"job": str(job), "function": f"f{job % 3}", "status": "succeeded", "bytes_in": str(job), **data}
        return {"specversion": "1.0", "id": str(uuid.uuid5(self.node.id, f"job/{job}")), "data": values,
                "source": f"/nodes/{self.node.id}", "type": "dev.acceleratorapi.usage.v1", "subject": self.client_id,
                "time": datetime.now(UTC).isoformat(), "datacontenttype": "application/json"}  # fmt: skip

    def report(self, events: list[Any]) -> Any:
        body = json.dumps(events).encode()
        headers = {"Authorization": f"Bearer {self.node.sign(body, aud=self.store.url)}"}
        answer = urllib3.request("POST", f"{self.store.url}/api/v1/usage", body=body, headers=headers)
        assert answer.status == 200, answer.data
        return answer.json()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.server(durable=False) as url:
        yield url


@pytest.fixture(scope="module")
def running(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    store = StoreProcess(tmp_path_factory.mktemp("running"), server)
    store.up()
    try:
        client_id, secret = store.tenant("ada")
        node = FakeNode()
        body = {"id": str(node.id), "public_key": node.key.as_dict(private=False)}
        StoreClient(store.url, client_id, secret).request("POST", "/api/v1/nodes", body)
        yield Running(store, server, client_id, secret, node)
    finally:
        store.down()


def test_the_same_events_at_the_same_time_in_any_order_count_once(running: Running) -> None:
    events = [running.event(job) for job in range(1, 401)]
    chance = random.Random(3)
    batches = [chance.sample(events, 300) for _ in range(11)] + [events]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(running.report, batches))
    accepted = [each for answer in answers for each in answer["accepted"]]
    assert sorted(accepted) == sorted(event["id"] for event in events)
    assert not any(answer["rejected"] for answer in answers)
    assert sum(len(answer["duplicate"]) for answer in answers) == 11 * 300
    total = running.store.usage(running.client_id, running.secret)["total"]
    assert (total["jobs"], total["bytes_in"]) == (400, sum(range(1, 401)))


def test_a_contradiction_is_refused_and_the_first_one_stays(running: Running) -> None:
    first = running.event(1001)
    assert running.report([first])["accepted"] == [first["id"]]
    other = first | {"data": first["data"] | {"bytes_in": "5"}}
    assert "another event" in running.report([other, {"id": "x"}])["rejected"][1]["reason"]


def test_sums_made_anew_are_the_same(running: Running) -> None:
    query = "?by=function"
    before = running.store.usage(running.client_id, running.secret, query)
    command = [sys.executable, "-m", "acceleratorAPI", "store", "rebuild"]
    subprocess.run(command, env=running.store.environment, check=True, capture_output=True)
    assert running.store.usage(running.client_id, running.secret, query) == before


def test_pg_dump_and_pg_restore_bring_everything_back(running: Running, tmp_path: Path) -> None:
    running.report([running.event(job) for job in range(2000, 2100)])
    before = running.store.usage(running.client_id, running.secret)
    file = tmp_path / "store.tar.gz"
    _run(running.store, "store", "backup", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    with postgres.server(durable=False) as url:
        other = StoreProcess(tmp_path, url)
        _run(other, "store", "restore", str(file), "--state", str(tmp_path / "store"))
        other.up()
        try:
            assert other.usage(running.client_id, running.secret) == before
        finally:
            other.down()


def test_a_restore_over_another_store_changes_nothing(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "store.tar.gz"
    _run(running.store, "store", "backup", str(file))
    other = StoreProcess(tmp_path, running.database)
    done = _run(other, "store", "restore", str(file), "--state", str(tmp_path / "store"), code=2)
    assert done.stderr.count("\n") == 1, done.stderr
    assert "already exists" in done.stderr
    assert not (tmp_path / "store").exists()
    assert running.store.usage(running.client_id, running.secret)["total"]["jobs"]


def _run(store: StoreProcess, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "acceleratorAPI", *arguments]
    done = subprocess.run(command, env=store.environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_the_dashboard_asks_as_many_queries_however_much_there_is_and_each_by_an_index() -> None:
    soak = Path(__file__).parents[1] / "soak_store.py"
    done = subprocess.run([sys.executable, str(soak), "10000"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "event_organisation" in done.stdout
    assert "/usage/jobs/: 5 queries, 5 with 1000 events" in done.stdout
