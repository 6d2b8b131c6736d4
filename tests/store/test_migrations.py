"""A store of the first release is brought to this one: what it knew is still right, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import postgres
import pytest
from stores import StoreProcess

from acceleratorAPI.client.store import StoreClient
from acceleratorAPI.errors import AuthenticationError

OLD = Path(__file__).parents[1] / "data" / "store-0.1"
EVENTS = range(1, 51)


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreProcess]:
    """A store that starts on the old data."""
    state = tmp_path / "store"
    state.mkdir(mode=0o700)
    shutil.copy(OLD / "keys.json", state)
    if request.param == "sqlite":
        with closing(sqlite3.connect(state / "store.db")) as database:
            database.executescript((OLD / "sqlite.sql").read_text())
        yield from _running(StoreProcess(tmp_path))
        return
    if not postgres.installed():
        pytest.skip(postgres.MISSING)
    with postgres.server(durable=False) as url:
        command = [postgres.program("psql") or "", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(OLD / "postgres.sql"), url]
        subprocess.run(command, check=True, capture_output=True)
        yield from _running(StoreProcess(tmp_path, url))


def _running(store: StoreProcess) -> Iterator[StoreProcess]:
    store.up()
    try:
        yield store
    finally:
        store.down()


def test_what_the_first_release_knew_is_still_right(store: StoreProcess) -> None:
    key = json.loads((OLD / "access.json").read_text())
    client_id, secret = key["client_id"], key["secret"]
    days = "?from=2026-11-01&to=2026-11-30"
    before = store.usage(client_id, secret, days)
    charged = [job for job in EVENTS if job % 10]
    wanted = {
        "jobs": len(EVENTS),
        "failed": len(EVENTS) - len(charged),
        "bytes_in": 10**8 * sum(EVENTS),
        "bytes_out": sum(EVENTS),
        "engine_us": sum(EVENTS),
        # 1,000 a job, and 2 a byte: 2 * 10^9 a GB.
        "cost_nano": sum(1000 + 2 * (10**8 * job + job) for job in charged),
    }
    assert {name: before["total"][name] for name in wanted} == wanted
    assert [row["key"] for row in before["rows"]] == ["2026-11-01", "2026-11-02", "2026-11-03"]
    client = StoreClient(store.url, client_id, secret)
    assert client.get("/api/v1/me")["organisation"] == "Ada's works"
    assert client.requirements()["AWS"]["cast_gzip"]["eu-west-1"]["instancetype"] == "f2.6xlarge"
    assert len(client.get(f"/api/v1/usage/events{days}")) == len(EVENTS)
    with pytest.raises(AuthenticationError):
        StoreClient(store.url, client_id, secret + "x").token()
    # The sums are those of the events, and the tables can be written.
    command = [sys.executable, "-m", "acceleratorAPI", "store", "rebuild"]
    subprocess.run(command, env=store.environment, check=True, capture_output=True)
    assert store.usage(client_id, secret, days) == before
    assert store.tenant("bob")[0] != client_id
