"""``kill -9`` of the node while jobs are uploaded, queued, run and finished."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from faults import Line, begin, complete, complete_if_alive, create, ended

DATA = random.Random(9).randbytes(2_000_000)
JOBS_A_KILL = 3


def kill_at_random(nodes: Any, kills: int, seed: int = 11) -> Line:
    """Kill a node ``kills`` times and see that every job it took ends as promised.

    Each life takes up what the last one left, gets new jobs in other phases, and goes on for a random time.
    """
    line = Line("kill -9 of the node", kills)
    chooser = random.Random(seed)
    state: Path | None = None
    jobs: dict[str, str] = {}
    configuration = ""
    for _ in range(kills):
        node = nodes("--auth", "none", "--slots", "2", "--queue", "1000", state=state)
        if state is None:
            state = node.state
            configuration = node.configure("test_slow")["url"].removeprefix(node.url)
        for phase in range(JOBS_A_KILL):
            # The first has all of its input before it begins, the others get it while they wait or run.
            path = create(node, len(DATA), DATA if phase == 0 else DATA[: chooser.randrange(len(DATA))])
            seconds = chooser.choice([0, 0, 0.1, 0.3])
            job = begin(node, configuration=configuration, upload=path, parameters={"seconds": seconds})
            assert job.status == 201, job.body
            jobs[job.json["id"]] = path
        unfinished = list(jobs.values())[-2 * JOBS_A_KILL :]
        threads = [threading.Thread(target=complete_if_alive, args=(node, path, DATA)) for path in unfinished]
        for thread in threads:
            thread.start()
        time.sleep(chooser.uniform(0, 0.6))
        node.process.kill()
        node.process.wait()
        for thread in threads:
            thread.join()
    node = nodes("--auth", "none", "--slots", "2", "--queue", "1000", state=state)
    for path in jobs.values():
        complete(node, path, DATA)
    wrong = sum(not as_promised(node, number) for number in jobs)
    results = [node.get(f"/v2/jobs/{number}").json["result"] for number in jobs]
    assert len(node.spool()) == sum(result is not None for result in results), "orphans in the spool"
    states = {number: node.get(f"/v2/jobs/{number}").json["progress"]["state"] for number in jobs}
    assert node.end() == 0
    with sqlite3.connect(node.state / "node.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        # T16: each job counted once, however often it was begun.
        counted = [(str(job), state) for job, state in database.execute("SELECT job, state FROM usage")]
    database.close()
    assert sorted(counted) == sorted(states.items())
    line.lost, line.survived = wrong, kills if not wrong else 0
    return line


def as_promised(node: Any, number: str) -> bool:
    """Whether a job succeeded with the right output, or failed with a reason."""
    record = ended(node, number)
    if record["progress"]["state"] == "succeeded":
        return bool(node.get(f"/v2/jobs/{number}/result").body == DATA)
    # Begun three times and killed each time.
    return record["attempts"] > 3 and record["failure"]["code"] == "worker-crashed"
