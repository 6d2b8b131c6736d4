"""``scripts/soak-faults``: prints the lines of the table in docs/reliability.md."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from faults import Line
from kills import kill_at_random
from node.conftest import Nodes
from power_failures import fail_after_calls
from storage import Storage
from storage_faults import WAYS, fail_every_call

from acceleratorAPI.node.rows import now

ROWS = 10_000
READY_S = 5.0


def kills(nodes: Nodes) -> Iterator[Line]:
    yield kill_at_random(nodes, 100)


def boot(nodes: Nodes) -> Iterator[Line]:
    """How long a killed node with 10,000 jobs needs until it takes work again, its outputs on the disk."""
    node = nodes("--auth", "none", "--slots", "1")
    configuration = node.configure("test_copy")
    node.ended(node.send(configuration, b"kept"))
    node.process.kill()
    node.process.wait()
    database = sqlite3.connect(node.state / "node.db")
    names = [str(row[1]) for row in database.execute("PRAGMA table_info(jobs)") if row[1] != "id"]
    row = dict(zip(names, database.execute(f"SELECT {', '.join(names)} FROM jobs").fetchone(), strict=True))
    with database:
        for number in range(ROWS - 1):
            output = f"{number:032x}"
            (node.state / "spool" / output).write_bytes(b"kept")
            values = {**row, "output": output, "processed_date": now()}
            database.execute(f"INSERT INTO jobs ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                             [*values.values()])  # fmt: skip
    database.close()
    line = Line(f"kill -9 with {ROWS:,} job rows: ready again within {READY_S:g} s")
    for _ in range(10):
        began = time.monotonic()
        node = nodes("--auth", "none", "--slots", "1", state=node.state)
        while node.get("/health/ready").status != 200:
            time.sleep(0.01)
        took = time.monotonic() - began
        print(f"ready after {took:.2f} s", file=sys.stderr)
        line.count(took <= READY_S and node.get("/v2/jobs").json["count"] == ROWS)
        node.process.kill()
        node.process.wait()
    yield line


def storage(nodes: Nodes) -> Iterator[Line]:
    for number, way in enumerate(WAYS):
        folder = nodes.folder / str(number)
        folder.mkdir()
        each = Nodes(folder)
        shim = Storage(folder / "state", folder)
        with contextlib.closing(shim):
            yield fail_every_call(each, shim, way)
        each.end()


def power(nodes: Nodes) -> Iterator[Line]:
    yield fail_after_calls(nodes, nodes.folder)


def openapi(_nodes: Nodes) -> Iterator[Line]:
    environment = {**os.environ, "ACCELERATORAPI_CASES": "1000"}
    command = [sys.executable, "-m", "pytest", "-q", "-s", "tests/node/test_openapi_conformance.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout[-2000:], file=sys.stderr)
    cases = re.search(r"^\s*(\d+) generated", done.stdout, re.MULTILINE)
    injected = int(cases[1]) if cases else 0
    good = done.returncode == 0
    yield Line("requests made from the API's description", injected, injected if good else 0, 0 if good else 1)


FAULTS: dict[str, Callable[[Nodes], Iterator[Line]]] = {
    "kills": kills, "boot": boot, "storage": storage, "power": power, "openapi": openapi,
}  # fmt: skip


def main() -> int:
    lost = 0
    for name in sys.argv[1:] or FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            nodes = Nodes(Path(folder))
            try:
                for line in FAULTS[name](nodes):
                    line.command = f"scripts/soak-faults {name}"
                    lost += line.injected - line.survived + line.lost
                    print(line, flush=True)
            finally:
                nodes.end()
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
