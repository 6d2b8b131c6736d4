"""T32: a node of this version goes on with the folder of each version before; one of a later version is refused."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from crc32c import crc32c

from acceleratorAPI.node.database import _STEPS
from acceleratorAPI.node.rows import now
from acceleratorAPI.node.uploads import boot_id

CREATED = now()
DONE, QUEUED, OPEN, FOLLOWED = (letter * 32 for letter in "abcd")
DATA = os.urandom(300_000)
TUS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}


def insert(database: sqlite3.Connection, table: str, **values: Any) -> None:
    """A row with those columns that the version has."""
    known = {str(row[1]) for row in database.execute(f"PRAGMA table_info({table})")}
    kept = {name: value for name, value in values.items() if name in known}
    database.execute(f"INSERT INTO {table} ({', '.join(kept)}) VALUES ({', '.join('?' * len(kept))})", [*kept.values()])


def folder_of(version: int, state: Path) -> None:
    """A state folder as that version leaves it when it is killed."""
    (state / "spool").mkdir(parents=True)
    for name, content in ((DONE, b"kept"), (QUEUED, DATA), (OPEN, DATA[:1000]), (FOLLOWED, DATA[:2000])):
        (state / "spool" / name).write_bytes(content)
    (state / "spool" / f"{'e' * 32}.partial").write_bytes(b"of a job that ran")
    database = sqlite3.connect(state / "node.db")
    with database:
        for step in _STEPS[:version]:
            database.executescript(step)
        insert(
            database, "configurations", id=1, accelerator="test_copy", created=CREATED, parameters="{}",
            function_parameters="{}", masked=0, used=1, stopped=0, inerror=0, processed_date=CREATED,
            result=json.dumps({"status": 0, "msg": ""}),
        )  # fmt: skip
        job: dict[str, Any] = {
            "configuration": 1, "accelerator": "test_copy", "created": CREATED, "parameters": "{}", "masked": 0,
            "bytes_in": 0, "bytes_out": 0, "state": "queued", "function_parameters": "{}", "attempts": 1,
        }  # fmt: skip
        ended = {"state": "succeeded", "processed_date": CREATED, "output": DONE, "bytes_in": 4, "bytes_out": 4}
        insert(database, "jobs", **{**job, **ended}, id=1, result=json.dumps({"status": 0, "msg": ""}))
        insert(database, "jobs", **job, id=2, input=QUEUED, input_bytes=len(DATA), output="1" * 32)
        insert(database, "jobs", **job, id=3, input=FOLLOWED, input_bytes=len(DATA), output="2" * 32)
        if version >= 2:
            for name, there in ((OPEN, 1000), (FOLLOWED, 2000)):
                insert(
                    database, "uploads", id=name, created=CREATED, expires=time.time() + 3600, boot=boot_id(),
                    length=len(DATA), offset=there, crc32c=crc32c(DATA[:there]), complete=0, partial=0, metadata="",
                )  # fmt: skip
            database.execute("INSERT INTO answers VALUES ('key', 'print', 2, ?)", (time.time() + 3600,))
        database.execute(f"PRAGMA user_version = {version}")
    database.close()


@pytest.mark.parametrize("version", range(1, len(_STEPS) + 1))
def test_the_folder_of_every_version_goes_on(nodes: Any, tmp_path: Path, version: int) -> None:
    folder_of(version, tmp_path / "state")
    node = nodes("--auth", "none", state=tmp_path / "state")
    kept = node.get("/v1.0/process/1/datafileresult")
    assert kept.body == b"kept", kept.body
    if version == 1:
        # Its jobs lack what is needed to begin them again, and it had no uploads.
        assert node.get("/v2/jobs/2").json["failure"]["code"] == "worker-crashed"
        return
    assert node.get("/v2/jobs/2?wait=30").json["progress"]["state"] == "succeeded"
    assert node.get("/v2/jobs/2/result").body == DATA
    for name in (OPEN, FOLLOWED):
        at = int(node.request("HEAD", f"/v2/files/{name}", headers=TUS).headers["Upload-Offset"])
        headers = {**TUS, "Upload-Offset": str(at)}
        assert node.request("PATCH", f"/v2/files/{name}", DATA[at:], headers).status == 204
    assert node.get(f"/v2/files/{OPEN}").body == DATA
    assert node.get("/v2/jobs/3?wait=30").json["progress"]["state"] == "succeeded"
    assert node.get("/v2/jobs/3/result").body == DATA
    assert node.spool() == sorted([DONE, OPEN, "1" * 32, "2" * 32])


def test_a_later_versions_folder_is_refused_and_left_alone(nodes: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    folder_of(len(_STEPS), state)
    database = sqlite3.connect(state / "node.db")
    with database:
        database.execute("ALTER TABLE jobs ADD COLUMN later TEXT")
        database.execute(f"PRAGMA user_version = {len(_STEPS) + 1}")
    database.close()
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    node = nodes.spawn("--auth", "none", state=state)
    assert node.process.wait(60) == 2
    assert "was written by a newer version; use that, or another --state folder" in node.log
    assert len(node.log.splitlines()) == 1
    after = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    assert {path: after.get(path) for path in before} == before
