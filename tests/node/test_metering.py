"""Usage is kept when a node's folder goes before the store has it, and sent by the next node, once."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from acceleratorAPI.errors import StoreUnreachableError
from acceleratorAPI.node import database, metering
from acceleratorAPI.node.metering import Metering
from acceleratorAPI.node.state import StateFolder
from acceleratorAPI.protocol.unsent import MARKER, set_aside
from acceleratorAPI.protocol.usage import BatchAnswer, UsageEvent

URL = "http://127.0.0.1:1"
COLUMNS = (
    "job, client, application, accelerator, state, attempts, bytes_in, bytes_out, engine, engine_us, wall_us,"
    " created, ended"
)


class FakeStore:
    """Takes batches, unless it is down."""

    def __init__(self) -> None:
        self.down = False
        self.taken: list[tuple[str, str]] = []

    def report(self, link: Any, node: str, key: Any, events: list[UsageEvent]) -> BatchAnswer:
        if self.down:
            raise StoreUnreachableError("down")
        self.taken += [(node, event.data.job) for event in events]
        return BatchAnswer(accepted=[event.id for event in events])


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    fake = FakeStore()
    monkeypatch.setattr(metering.StoreLink, "report", lambda *arguments: fake.report(*arguments))
    monkeypatch.setattr(metering, "_LOOK_EVERY_S", 0.05)
    return fake


def node(folder: Path, jobs: int, unsent: Path) -> Metering:
    """A node that has ended ``jobs`` jobs."""
    folder.mkdir(parents=True)
    database.Database(folder / "node.db").close()
    with closing(sqlite3.connect(folder / "node.db")) as rows:
        now = datetime.now(UTC).isoformat()
        for job in range(1, jobs + 1):
            rows.execute(
                f"INSERT INTO usage ({COLUMNS}) VALUES (?, '', 'key', 'f', 'succeeded', 1, 5, 5, '', 0, 0, ?, ?)",
                (job, now, now),
            )
        rows.commit()
    return Metering(URL, folder / "node.db", folder, unsent)


def wait_for(store: FakeStore, count: int) -> None:
    deadline = time.monotonic() + 20
    while len(store.taken) < count and time.monotonic() < deadline:
        time.sleep(0.02)


def test_the_next_node_sends_what_was_left_in_the_name_of_the_one_that_counted(
    tmp_path: Path, store: FakeStore
) -> None:
    unsent, store.down = tmp_path / "unsent", True
    first = node(tmp_path / "first", 700, unsent)
    first.close()
    # As the node itself does when its owner is gone.
    StateFolder(tmp_path / "first").remove(unsent)
    assert not (tmp_path / "first").exists()
    (place,) = unsent.iterdir()
    assert {path.name for path in place.iterdir()} <= {"node.db", "node.db-wal", MARKER}
    store.down = False
    second = node(tmp_path / "second", 1, unsent)
    wait_for(store, 701)
    second.close()
    assert sorted(store.taken) == sorted([(first.node, str(job)) for job in range(1, 701)] + [(second.node, "1")])
    assert not list(unsent.iterdir())
    assert not (tmp_path / "second" / MARKER).exists()


def test_what_is_of_another_store_or_damaged_stays(tmp_path: Path, store: FakeStore) -> None:
    unsent = tmp_path / "unsent"
    for name, url in (("other", "http://127.0.0.1:2"), ("damaged", URL)):
        (unsent / name).mkdir(parents=True)
        (unsent / name / "node.db").write_bytes(b"no database" * 100)
        (unsent / name / MARKER).write_text(url)
    running = node(tmp_path / "node", 3, unsent)
    wait_for(store, 3)
    running.close()
    assert len(store.taken) == 3
    assert len(list(unsent.iterdir())) == 2


def test_nothing_is_kept_that_the_store_has_or_that_no_store_counts(tmp_path: Path, store: FakeStore) -> None:
    running = node(tmp_path / "node", 3, tmp_path / "unsent")
    running.close()
    assert len(store.taken) == 3
    assert not set_aside(tmp_path / "node", tmp_path / "unsent")
    StateFolder(tmp_path / "node").remove(tmp_path / "unsent")
    assert not (tmp_path / "node").exists()
    assert not (tmp_path / "unsent").exists()


def test_without_a_place_for_them_records_stay_in_the_folder(tmp_path: Path, store: FakeStore) -> None:
    store.down = True
    node(tmp_path / "node", 3, tmp_path / "unsent").close()
    StateFolder(tmp_path / "node").remove()
    assert {path.name for path in (tmp_path / "node").iterdir()} >= {"node.db", MARKER}


def test_what_a_node_of_an_older_release_left_is_sent(tmp_path: Path, store: FakeStore) -> None:
    place = tmp_path / "unsent" / "old"
    place.mkdir(parents=True)
    with closing(sqlite3.connect(place / "node.db")) as old:
        old.executescript("".join(database._STEPS[:4]) + "PRAGMA user_version=4;")
        now = datetime.now(UTC).isoformat()
        values = (1, "", "key", "f", "succeeded", 1, 5, 5, "", 0, 0, now, now)
        old.execute(f"INSERT INTO usage ({COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)
        old.commit()
    (place / MARKER).write_text(URL)
    running = node(tmp_path / "node", 0, tmp_path / "unsent")
    wait_for(store, 1)
    running.close()
    assert [job for _, job in store.taken] == ["1"]
    assert not place.exists()
