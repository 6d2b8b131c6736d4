"""Usage events through the store's HTTP route into PostgreSQL, against COPY and executemany of the very same rows."""

from __future__ import annotations

import hashlib
import http.client
import json
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from joserfc import jwt
from joserfc.jwk import OKPKey

from acceleratorAPI.client.store import StoreClient
from acceleratorAPI.protocol.usage import MOST_EVENTS
from benchmarks.common import Options, Peer, Row, compare, race

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import postgres
from stores import StoreProcess

_NODES = 4
_FUNCTIONS = ("cast_gzip", "cast_gunzip", "silex_sha3")
_TABLE, _TWIN = "store_usageevent", "bench_event"
# What a plain table of events would hold: the same columns, indexes and constraints, foreign keys too.
_MAKE_TWIN = f"""
CREATE TABLE {_TWIN} (LIKE {_TABLE} INCLUDING ALL);
ALTER TABLE {_TWIN}
  ADD FOREIGN KEY (organisation_id) REFERENCES store_organisation DEFERRABLE INITIALLY DEFERRED,
  ADD FOREIGN KEY (application_id) REFERENCES store_application DEFERRABLE INITIALLY DEFERRED,
  ADD FOREIGN KEY (node_id) REFERENCES store_node DEFERRABLE INITIALLY DEFERRED;
"""


def measure(work: Path, options: Options) -> list[Row]:
    """The rows; none where PostgreSQL is not installed."""
    if not postgres.installed():
        print(f"no figures: {postgres.MISSING}", file=sys.stderr)
        return []
    with postgres.server() as url:
        store = StoreProcess(work, url)
        store.up()
        try:
            return _race(store, url, options)
        finally:
            store.down()


def _race(store: StoreProcess, url: str, options: Options) -> list[Row]:
    key = store.tenant("bench")
    nodes = [_Node.registered(store, *key) for _ in range(_NODES)]
    count = options.ingest_events // (_NODES * MOST_EVENTS) * _NODES * MOST_EVENTS
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(_MAKE_TWIN)
        plain = _Plain(database)

        def prepare() -> None:
            for node in nodes:
                node.prepare(count // _NODES // MOST_EVENTS)

        def send() -> None:
            with ThreadPoolExecutor(_NODES) as threads:
                list(threads.map(_Node.send, nodes))

        def take() -> None:
            """Check that all are there, and take them for the peers."""
            plain.take(count)
            prepare()

        prepare()
        ours = Peer(f"{_NODES} nodes, signed batches of {MOST_EVENTS} by HTTP", send, count, take)
        copy = Peer("one bare COPY of the rows", plain.copy, count, plain.empty)
        many = Peer("one executemany of the rows", plain.executemany, count, plain.empty)
        rates = race(ours, [copy, many], options.rounds)
    # Rates are 10^6 a second there.
    return [
        replace(row, unit="1,000 events/s", ours_rate=row.ours_rate * 1e3, peer_rate=row.peer_rate * 1e3)
        for row in (compare(ours, copy, rates), compare(ours, many, rates))
    ]


class _Plain:
    """The rows that came last, and how a program without a store would bring them in."""

    def __init__(self, database: psycopg.Connection[Any]) -> None:
        self._database = database
        self._last_id = 0
        self._copied = b""
        self._rows: list[tuple[Any, ...]] = []

    def take(self, count: int) -> None:
        rows = f"SELECT * FROM {_TABLE} WHERE id > {self._last_id}"
        self._rows = self._database.execute(rows.encode()).fetchall()
        if len(self._rows) != count:
            raise RuntimeError(f"{len(self._rows)} of {count} events are in the database")
        with self._database.cursor().copy(f"COPY ({rows}) TO STDOUT".encode()) as copy:
            self._copied = b"".join(bytes(piece) for piece in copy)
        self._last_id = max(row[0] for row in self._rows)

    def copy(self) -> None:
        with self._database.cursor().copy(f"COPY {_TWIN} FROM STDIN".encode()) as copy:
            copy.write(self._copied)

    def executemany(self) -> None:
        marks = ", ".join(["%s"] * len(self._rows[0]))
        with self._database.transaction():
            self._database.cursor().executemany(f"INSERT INTO {_TWIN} VALUES ({marks})".encode(), self._rows)

    def empty(self) -> None:
        self._database.execute(f"TRUNCATE {_TWIN}".encode())


@dataclass
class _Node:
    """One that reports: batches are made before, and signed and sent one after the other, as nodes do."""

    id: uuid.UUID
    key: OKPKey
    store: StoreProcess
    client_id: str
    jobs: int
    batches: list[bytes]

    @classmethod
    def registered(cls, store: StoreProcess, client_id: str, secret: str) -> _Node:
        node = cls(uuid.uuid4(), OKPKey.generate_key("Ed25519"), store, client_id, 0, [])
        body = {"id": str(node.id), "public_key": node.key.as_dict(private=False)}
        StoreClient(store.url, client_id, secret).request("POST", "/api/v1/nodes", body)
        return node

    def prepare(self, batches: int) -> None:
        self.batches = [json.dumps(list(self._events())).encode() for _ in range(batches)]

    def _events(self) -> Iterator[dict[str, Any]]:
        now = datetime.now(UTC)
        for _ in range(MOST_EVENTS):
            self.jobs += 1
            job = self.jobs
            data = {
                "job": str(job),
                "function": _FUNCTIONS[job % 3],
                "function_version": "1.0",
                "engine": "cpu",
                "status": "failed" if job % 11 == 0 else "succeeded",
                "bytes_in": str(1000 + job * 7919),
                "bytes_out": str(job * 104_729),
                "engine_us": str(job),
                "wall_us": str(job + 9),
                "attempt": 1,
            }
            yield {
                "specversion": "1.0",
                "id": str(uuid.uuid5(self.id, f"job/{job}")),
                "source": f"/nodes/{self.id}",
                "type": "dev.acceleratorapi.usage.v1",
                "subject": self.client_id,
                "time": (now - timedelta(seconds=job % 3600)).isoformat(),
                "datacontenttype": "application/json",
                "data": data,
            }

    def send(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.store.port)
        for body in self.batches:
            now = int(time.time())
            claims = {"iss": str(self.id), "aud": self.store.url, "iat": now, "exp": now + 300,
                      "sha256": hashlib.sha256(body).hexdigest()}  # fmt: skip
            token = jwt.encode({"alg": "Ed25519", "kid": str(self.id)}, claims, self.key, algorithms=["Ed25519"])
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/cloudevents-batch+json"}
            connection.request("POST", "/api/v1/usage", body, headers)
            answer = connection.getresponse()
            values = json.loads(answer.read())
            if answer.status != 200 or len(values["accepted"]) != MOST_EVENTS:
                raise RuntimeError(f"{answer.status}: {str(values)[:300]}")
        connection.close()
