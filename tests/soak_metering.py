"""Metering under kills, lost acknowledgements, repetitions and outages: the sums must come out exactly right.

A node's database is driven as its engine does: jobs end by an UPDATE in a transaction, in a process that is killed at
any moment. A proxy between node and store loses answers, and brings requests twice, late and in another order. The
clocks of node and store are set ahead while it is down, so that it is for an hour.
"""

from __future__ import annotations

import contextlib
import csv
import http.server
import io
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3

sys.path.insert(0, str(Path(__file__).parent / "support"))

import postgres
from clocks import WrongClock
from faults import Line
from stores import StoreProcess

from acceleratorAPI.client.store import StoreClient

# Shares of the batches, and of the jobs.
LOST = REPEATED = LATE = KILLED = 0.2
DOWN_S = 3600
TITLES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
NAMES = ("cast_gzip", "cast_gunzip", "silex_sha3")


def bytes_of(job: int) -> tuple[int, int]:
    return 1000 + job * 7919 % 100_003, job * 104_729 % 50_021


class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on; of batches, loses, repeats and delays a share."""

    daemon_threads = True

    def __init__(self, store_url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.store_url = store_url
        self.chance = random.Random(5)
        self.counts = {"batches": 0, "lost": 0, "repeated": 0, "late": 0, "down": 0}
        self.seen: list[tuple[str, bytes, dict[str, str]]] = []
        self.held: list[tuple[str, bytes, dict[str, str]]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def pass_on(self, path: str, body: bytes, headers: dict[str, str]) -> urllib3.BaseHTTPResponse | None:
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            url = self.store_url + path
            return urllib3.request("POST", url, body=body, headers=headers, retries=False, timeout=30)
        self.counts["down"] += 1
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A node that is killed cuts its connection."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Proxy

    def do_POST(self) -> None:
        proxy = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = self.path, body, {name: self.headers[name] for name in ("Authorization", "Content-Type")}
        proxy.counts["batches"] += 1
        if proxy.chance.random() < LATE:
            proxy.counts["late"] += 1
            proxy.held.append(request)
            self.close_connection = True
            return
        answer = proxy.pass_on(*request)
        if answer is None:
            self.send_error(503)
            return
        proxy.seen.append(request)
        if proxy.chance.random() < REPEATED:
            proxy.counts["repeated"] += 1
            proxy.pass_on(*proxy.chance.choice(proxy.seen))
        # What was held back comes after what was sent after it, some of it after much more.
        if proxy.held and proxy.chance.random() < 0.5:
            proxy.pass_on(*proxy.held.pop(proxy.chance.randrange(len(proxy.held))))
        if proxy.chance.random() < LOST:
            proxy.counts["lost"] += 1
            self.close_connection = True
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer.data)))
        self.end_headers()
        self.wfile.write(answer.data)

    def log_message(self, *args: Any) -> None:
        pass


def node(folder: Path, url: str, issuer: str, tokens: list[str], seed: int, last: int, *, ends: bool) -> None:
    """End jobs up to ``last`` and report, until killed; or until everything is reported, if it ``ends``."""
    from acceleratorAPI.node import metering, store_link
    from acceleratorAPI.node.database import connect

    metering._LOOK_EVERY_S, metering._LONGEST_PAUSE_S, metering.MOST_EVENTS = 0.02, 0.3, 25

    class Link(store_link.StoreLink):
        def _ask(self, path: str, body: Any, headers: dict[str, str]) -> Any:
            real = self.url
            self.url = url if path.endswith("/usage") else real
            try:
                return super()._ask(path, body, headers)
            finally:
                self.url = real

    metering.StoreLink = Link  # type: ignore[misc]
    database = connect(folder / "node.db")
    meter = metering.Metering(issuer, folder / "node.db", folder)
    for number, token in enumerate(tokens, 1):
        if not meter._outbox.registered(f"known-{number}"):
            shown = meter._link.shown({"access_token": token})
            meter._link.register(shown.token, meter.node, meter._key, {})
            meter._outbox.charge(number, shown.application)
            meter._outbox.note_registration(f"known-{number}")
    chance = random.Random(seed)
    first = 1 + (database.execute("SELECT MAX(job) FROM usage").fetchone()[0] or 0)
    for job in range(first, last + 1):
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
        time.sleep(chance.uniform(0, 0.05))
    while not ends or meter._outbox.waiting().jobs:
        time.sleep(0.02)
    os._exit(0)


def live_and_be_killed(
    store: StoreProcess, tokens: list[str], clock: WrongClock, folder: Path, jobs: int
) -> dict[str, int]:
    """A node's lives, the store down during a sixth of them; what was done to it."""
    chance = random.Random(1)
    proxy = Proxy(store.url)
    # A fork of a process that has imported everything: a life costs no start of Python.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["acceleratorAPI.node.metering"])
    kills = int(jobs * KILLED)
    down, up = kills // 3, kills // 2
    folder.mkdir()
    for life in range(kills):
        clock.set(DOWN_S * min(max(life - down, 0), up - down) // (up - down))
        if life == down:
            store.down(signal.SIGKILL)
        elif life == up:
            store.up()

        work = (folder, proxy.url, store.url, tokens, life, jobs * (life + 1) // (kills + 1))
        process = context.Process(target=node, args=work, kwargs={"ends": False})
        process.start()
        process.join(chance.uniform(0.05, 1))
        assert process.exitcode is None, f"the node ended by itself: {process.exitcode}"
        process.kill()
        process.join()
    process = context.Process(
        target=node, args=(folder, proxy.url, store.url, tokens, kills, jobs), kwargs={"ends": True}
    )
    process.start()
    process.join(300)
    assert process.exitcode == 0, process.exitcode
    for request in proxy.held:
        proxy.pass_on(*request)
    proxy.shutdown()
    return {"kills": kills, **proxy.counts}


def jobs_by_csv(store: StoreProcess, key: tuple[str, str]) -> list[int]:
    """The jobs that the store has of a key, in their order."""
    headers = {"Authorization": f"Bearer {StoreClient(store.url, *key).token()}"}
    text = urllib3.request("GET", f"{store.url}/api/v1/usage.csv", headers=headers).data.decode()
    return sorted(int(row["job"]) for row in csv.DictReader(io.StringIO(text)))


def differences(store: StoreProcess, keys: list[tuple[str, str]], database: Path, jobs: int) -> Iterator[str]:
    """What is not as it must be."""
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
        if found != wanted:
            yield f"sums of key {number}: {found}, and not {wanted}"
        listed = jobs_by_csv(store, key)
        if listed != mine:
            twice = len(listed) - len(set(listed))
            yield f"jobs of key {number}: {len(set(mine) - set(listed))} missing, {twice} twice"
    with contextlib.closing(sqlite3.connect(database)) as rows:
        (refused,) = rows.execute("SELECT COUNT(*) FROM usage WHERE refused IS NOT NULL").fetchone()
    if refused:
        yield f"{refused} refused"


def soak(name: str, url: str, jobs: int) -> int:
    with tempfile.TemporaryDirectory(prefix="metering-") as temporary:
        folder = Path(temporary)
        clock = WrongClock(folder)
        os.environ.update(clock.environment())
        store = StoreProcess(folder, url)
        store.up()
        try:
            keys = [store.tenant(each) for each in ("ada", "bob")]
            tokens = [StoreClient(store.url, *key).token() for key in keys]
            done = live_and_be_killed(store, tokens, clock, folder / "node", jobs)
            wrong = list(differences(store, keys, folder / "node" / "node.db", jobs))
        finally:
            store.down()
    print(json.dumps({"jobs": jobs, **done}), file=sys.stderr)
    print("\n".join(wrong), file=sys.stderr)
    fault = (
        f"{jobs:,} jobs counted on {TITLES[name]}: node killed {done['kills']} times, store down for an hour;"
        f" of {done['batches']} batches {done['lost']} acknowledgements lost, {done['repeated']} sent twice,"
        f" {done['late']} late"
    )
    missing = 0 if not wrong else jobs
    print(Line(fault, jobs, jobs - missing, missing, f"scripts/soak-metering {name}"))
    return 1 if wrong else 0


def main(name: str, jobs: int) -> int:
    if name == "sqlite":
        return soak(name, "", jobs)
    with postgres.server() as url:
        return soak(name, url, jobs)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("sqlite", "postgres"):
        sys.exit("scripts/soak-metering sqlite|postgres [JOBS]")
    sys.exit(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000))
