"""Metering under kills, lost acknowledgements, repetitions and outages: the sums must come out exactly right.

A node's database is driven as its engine does: jobs end by an UPDATE in a transaction, in a process that is killed at
any moment. A proxy between node and store loses answers and sends requests again later.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import urllib3

sys.path.insert(0, str(Path(__file__).parent / "support"))

from stores import StoreProcess

from acceleratorAPI.client.store import StoreClient

LOST = REPEATED = KILLED = 0.2
NAMES = ("cast_gzip", "cast_gunzip", "silex_sha3")


def bytes_of(job: int) -> tuple[int, int]:
    return 1000 + job * 7919 % 100_003, job * 104_729 % 50_021


def proxy(store_url: str, lossy: bool = True) -> tuple[http.server.ThreadingHTTPServer, dict[str, int]]:
    """Passes requests on; of batches, loses a share of the answers and repeats a share later, in another order."""
    counts = {"batches": 0, "lost": 0, "repeated": 0, "down": 0}
    chance, old = random.Random(5), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name: self.headers[name] for name in ("Authorization", "Content-Type")}
            try:
                answer = urllib3.request(
                    "POST", store_url + self.path, body=body, headers=headers, retries=False, timeout=30
                )
            except urllib3.exceptions.HTTPError:
                counts["down"] += 1
                self.send_error(503)
                return
            if self.path.endswith("/usage"):
                counts["batches"] += 1
                old.append((body, headers))
                if chance.random() < REPEATED:
                    counts["repeated"] += 1
                    again, with_headers = chance.choice(old)
                    urllib3.request("POST", store_url + self.path, body=again, headers=with_headers, retries=False)
                if chance.random() < LOST:
                    counts["lost"] += 1
                    self.close_connection = True
                    return
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.data)))
            self.end_headers()
            self.wfile.write(answer.data)

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, counts


def node(folder: Path, url: str, issuer: str, tokens: list[str], first: int, last: int) -> None:
    """Begin and end jobs, and report; killed from outside."""
    from acceleratorAPI.node import metering, store_link
    from acceleratorAPI.node.database import Database

    Database(folder / "node.db").close()
    metering._LOOK_EVERY_S, metering._LONGEST_PAUSE_S, metering.MOST_EVENTS = 0.05, 0.3, 25

    class Link(store_link.StoreLink):
        def _ask(self, path: str, body: Any, headers: dict[str, str]) -> Any:
            real = self.url
            self.url = url if path.endswith("/usage") else real
            try:
                return super()._ask(path, body, headers)
            finally:
                self.url = real

    metering.StoreLink = Link  # type: ignore[misc]
    meter = metering.Metering(issuer, folder / "node.db", folder)
    for number, token in enumerate(tokens, 1):
        if not meter._outbox.registered(f"known-{number}"):
            shown = meter._link.shown({"access_token": token})
            meter._link.register(shown.token, meter.node, meter._key, {})
            meter._outbox.charge(number, shown.application)
            meter._outbox.note_registration(f"known-{number}")
    database = sqlite3.connect(folder / "node.db", timeout=20, isolation_level=None)
    database.execute("PRAGMA synchronous=FULL")
    for job in range(first, last):
        read, written = bytes_of(job)
        state = "failed" if job % 11 == 0 else "succeeded"
        database.execute(
            "INSERT OR IGNORE INTO jobs"
            " (id, configuration, accelerator, created, parameters, state, bytes_in, bytes_out)"
            " VALUES (?, ?, ?, '2026', '{}', 'queued', 0, 0)",
            (job, 1 + job % len(tokens), NAMES[job % 3]),
        )
        moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        database.execute(
            "UPDATE jobs SET state = ?, processed_date = ?, bytes_in = ?, bytes_out = ?"
            " WHERE id = ? AND state = 'queued'",
            (state, moment, read, written, job),
        )
    while meter._outbox.waiting().jobs:
        time.sleep(0.05)
    os._exit(0)


def main(jobs: int) -> int:
    chance = random.Random(1)
    folder = Path(tempfile.mkdtemp(prefix="metering-"))
    store = StoreProcess(folder, os.environ.get("DATABASE_URL", ""))
    store.up()
    stamp = os.getpid()
    keys = [store.tenant(f"{name}{stamp}") for name in ("ada", "bob")]
    tokens = [StoreClient(store.url, *key).token() for key in keys]
    server, counts = proxy(store.url)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    state, killed, runs = folder / "node", 0, 0
    state.mkdir()
    context = multiprocessing.get_context("spawn")
    first, down = 1, False
    started = time.monotonic()
    while True:
        process = context.Process(target=node, args=(state, url, store.url, tokens, first, jobs + 1))
        process.start()
        runs += 1
        process.join(chance.uniform(3, 7))
        if runs == 3 and not down:
            down = True
            store.down(signal.SIGKILL)
            process.join(3)
            store.up()
        if process.exitcode == 0:
            break
        # A kill at any moment; the next run goes on with the jobs that had not ended.
        if runs < 10 and process.is_alive():
            killed += 1
            os.kill(process.pid, signal.SIGKILL)
        process.join(120)
        if process.exitcode == 0:
            break
        # Killed before it had its tables, it begins at the beginning.
        with contextlib.suppress(sqlite3.OperationalError), sqlite3.connect(state / "node.db", timeout=20) as database:
            first = 1 + (database.execute("SELECT MAX(job) FROM usage").fetchone()[0] or 0)
    failures = 0
    for number, key in enumerate(keys):
        mine = [job for job in range(1, jobs + 1) if job % len(keys) == number]
        wanted = {
            "jobs": len(mine),
            "failed": sum(job % 11 == 0 for job in mine),
            "bytes_in": sum(bytes_of(job)[0] for job in mine),
            "bytes_out": sum(bytes_of(job)[1] for job in mine),
        }
        total = store.usage(*key)["total"]
        found = {name: total[name] for name in wanted}
        failures += found != wanted
        print("right" if found == wanted else "WRONG", json.dumps({"found": found, "wanted": wanted}))
    print(
        json.dumps(
            {
                "jobs": jobs,
                "node_runs": runs,
                "node_kills": killed,
                **counts,
                "seconds": round(time.monotonic() - started),
            }
        )
    )
    store.down()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
