"""T11: a power failure after every storage call of some jobs: what is left is true, and a node goes on with it."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any, Literal

from crc32c import crc32c
from faults import Line, begin, complete, create, ended
from power import VARIANTS, Disk, lay
from storage import Storage

DATA = random.Random(5).randbytes(150_000)
FOLDERS = ("spool", "tmp", "scratch")


Fact = Literal["queued", "succeeded", "may be deleted", "deleted"]


def work(nodes: Any, storage: Storage, state: Path) -> list[tuple[int, str, Fact]]:
    """Let a node do jobs of every kind; what its clients were told of which job, and how long the journal was then."""
    nodes.environment.update(storage.environment)
    node = nodes("--auth", "none", "--slots", "2", state=state)
    told: list[tuple[int, str, Fact]] = []

    def tell(number: str, fact: Fact) -> None:
        told.append((storage.journal.stat().st_size, number, fact))

    configuration = node.configure("test_copy")["url"]
    for round_ in range(3):
        sent = node.post("/v1.0/process/", {"configuration": configuration}, DATA).json
        tell(sent["id"], "queued")
        path = create(node, len(DATA), DATA[: 40_000 * round_])
        job = begin(node, configuration=configuration, upload=path).json
        tell(job["id"], "queued")
        complete(node, path, DATA)
        for number in (sent["id"], job["id"]):
            assert ended(node, number)["progress"]["state"] == "succeeded"
            tell(number, "succeeded")
        if round_ == 1:
            tell(job["id"], "may be deleted")
            assert node.request("DELETE", f"/v2/jobs/{job['id']}").status == 204
            tell(job["id"], "deleted")
    node.process.kill()
    node.process.wait()
    return told


def check_rows(folder: Path, told: dict[str, Fact]) -> list[str]:
    """What is not as it should be in a folder as a power failure left it."""
    wrong = []
    database = sqlite3.connect(folder / "node.db")
    database.row_factory = sqlite3.Row
    try:
        if database.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            wrong.append("the database is damaged")
        rows = {str(row["id"]): row for row in database.execute("SELECT * FROM jobs")} if told else {}
        used = {str(row[0]): row[1] for row in database.execute("SELECT job, state FROM usage")} if told else {}
        # The machine's next run.
        if told:
            database.execute("UPDATE uploads SET boot = 'before'")
            database.execute("UPDATE jobs SET boot = 'before'")
            database.commit()
    finally:
        database.close()
    for number, row in rows.items():
        if row["state"] == "succeeded" and row["output"]:
            output = folder / "spool" / row["output"]
            if not output.exists() or output.stat().st_size != row["bytes_out"]:
                wrong.append(f"job {number} succeeded and its output is missing or short")
            elif crc32c(output.read_bytes()) != row["crc32c"]:
                wrong.append(f"job {number} succeeded and its output is wrong")
    for number, row in rows.items():
        if used.get(number, "queued") != row["state"]:
            wrong.append(f"job {number} is {row['state']} and counted as {used.get(number)}")
    for number, fact in told.items():
        if fact == "deleted" and number not in used:
            wrong.append(f"job {number} was deleted and what it used is gone")
        state = rows[number]["state"] if number in rows else "deleted"
        fine = {"queued": ("queued", "succeeded"), "may be deleted": ("succeeded", "deleted")}.get(fact, (fact,))
        if state not in fine:
            wrong.append(f"job {number} is {state}, and its client was told that it is {fact}")
    return wrong


def go_on(nodes: Any, folder: Path) -> list[str]:
    """Start a node there and let every job end: what was not right."""
    nodes.environment.clear()
    # Its address is for the living; the tests would read the dead one's.
    (folder / "node.json").unlink(missing_ok=True)
    node = nodes("--auth", "none", "--slots", "2", state=folder)
    wrong = []
    database = sqlite3.connect(folder / "node.db")
    uploads = [row[0] for row in database.execute("SELECT id FROM uploads")]
    jobs = [str(row[0]) for row in database.execute("SELECT id FROM jobs")]
    database.close()
    for name in uploads:
        complete(node, f"/v2/files/{name}", DATA)
    for number in jobs:
        record = ended(node, number)
        if record["progress"]["state"] == "succeeded":
            if node.get(f"/v2/jobs/{number}/result").body != DATA:
                wrong.append(f"job {number} succeeded from what was left of its input")
        elif not record["failure"]["detail"]:
            wrong.append(f"job {number} ended without a reason")
    node.process.kill()
    node.process.wait()
    return wrong


def fail_after_calls(nodes: Any, work_folder: Path, every: int = 1, boot_every: int = 25) -> Line:
    """A power failure after every call (or each ``every``-th), in all variants; a node is started on some of them."""
    line = Line("power failure after storage call 1..N (model)")
    state = work_folder / "state"
    storage = Storage(state, work_folder, journal=True)
    told = work(nodes, storage, state)
    disk, place, checked = Disk(), 0, 0
    records = list(storage.records())
    ready = False
    for number, record in enumerate(records):
        disk.apply(record)
        place += 32 + len(record.data or record.name.encode()) + len(record.second.encode())
        known = {job: fact for at, job, fact in told if at <= place}
        # Before the first job there is nothing that anybody was told.
        ready = ready or bool(known)
        if not ready or number % every:
            continue
        for variant in VARIANTS:
            # The workers of a killed node may still write there for a moment.
            new = work_folder / f"left{checked}"
            lay(disk.after_failure(variant, number), state.resolve(), new, FOLDERS)
            wrong = check_rows(new, known)
            checked += 1
            if not wrong and checked % boot_every == 0:
                wrong = go_on(nodes, new)
            line.count(not wrong)
            assert not wrong, (number, variant, record.op, record.name, wrong)
            shutil.rmtree(new, ignore_errors=True)
    seen = {Path(name): content for name, content in disk.seen().items()}
    there = {path: path.read_bytes() for path in (state / "spool").iterdir()}
    assert {path: seen.get(path) for path in there} == there, "a change of a file was not recorded"
    storage.close()
    return line
