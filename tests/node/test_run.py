"""``/v2/run``: a job in one request."""

from __future__ import annotations

import gzip
import http.client
import json
import signal
import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from crc32c import crc32c

from acceleratorAPI.protocol.digests import crc32c_field

OCTETS = {"Content-Type": "application/octet-stream"}


def run(node: Any, configuration: Any, data: bytes | None, query: str = "", **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    path = f"/v2/run?configuration={configuration['id']}{query}"
    return node.request("POST", path, data, {**(OCTETS if data is not None else {}), **sent})


def record_of(answer: Any) -> Any:
    return json.loads(answer.headers["Job-Record"])


@pytest.mark.parametrize("size", [0, 1, 10_000, 1 << 20])
def test_a_small_file_goes_and_comes_back_without_a_file(node: Any, copier: Any, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    before = node.spool()
    answer = run(node, copier, data, "&name=" + quote("ä b.txt"), Content_Digest=crc32c_field(crc32c(data)))
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["Repr-Digest"] == crc32c_field(crc32c(data))
    record = record_of(answer)
    assert (record["input_name"], record["progress"]["bytes_in"], record["result"]) == ("ä b.txt", size, None)
    assert node.spool() == before
    # The same job by every other view.
    assert node.get(answer.headers["Location"]).json == record
    assert node.get(f"/v1.0/process/{record['id']}").json["processed"] is True
    assert node.get(f"/v2/jobs/{record['id']}/result").status == 404


@pytest.mark.parametrize("size", [(1 << 20) + 1, 5_000_000])
def test_a_large_file_is_answered_with_the_place_of_its_output(node: Any, copier: Any, size: int) -> None:
    data = bytes(size)
    answer = run(node, copier, data)
    assert answer.status == 303
    assert node.get(answer.headers["Location"]).body == data
    assert node.request("DELETE", f"/v2/jobs/{answer.json['id']}").status == 204
    assert node.get(answer.headers["Location"]).status == 404


def test_a_small_input_with_a_large_output(node: Any) -> None:
    configuration = node.configure("cast_gunzip")
    answer = run(node, configuration, gzip.compress(bytes(3_000_000)))
    assert answer.status == 303
    assert answer.json["result"]["crc32c"] == f"{crc32c(bytes(3_000_000)):08x}"
    assert node.get(answer.headers["Location"]).body == bytes(3_000_000)


def test_no_input_and_no_output(node: Any) -> None:
    answer = run(node, node.configure("test_bytes"), None, Job_Parameters='{"count": 5}')
    assert (answer.status, answer.body) == (200, b"xxxxx")
    counted = run(node, node.configure("test_count"), b"four").json
    assert (counted["app"]["specific"]["count"], counted["result"]) == (4, None)
    kept = node.configure("test_keep")
    assert run(node, kept, b"four", Job_Parameters='{"give": false}').json["app"]["specific"]["kept"]
    assert run(node, kept, b"four").body == b"four"


def test_a_failure_is_an_error(node: Any, copier: Any) -> None:
    failing = node.configure("test_fail")
    answer = run(node, failing, b"x", Job_Parameters='{"how": "typed"}')
    assert (answer.status, answer.json["code"]) == (422, "function-failed")
    broken = run(node, node.configure("cast_gunzip"), b"not gzip")
    assert (broken.status, broken.json["code"]) == (400, "corrupt-input")
    wrong = run(node, copier, b"x", Content_Digest="crc32c=:AAAAAA==:")
    assert (wrong.status, wrong.json["code"]) == (460, "integrity")


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("&wait=61", {}, 400),
        ("&wait=nan", {}, 400),
        ("", {"Job-Parameters": "{"}, 400),
        ("", {"Job-Parameters": "[1]"}, 400),
        ("", {"Job-Parameters": '{"unknown": 1}'}, 400),
        ("", {"Idempotency-Key": "ä"}, 400),
        ("&folder=1", {}, 400),
    ],
)
def test_wrong_requests(node: Any, copier: Any, query: str, headers: dict[str, str], status: int) -> None:
    answer = node.request("POST", f"/v2/run?configuration={copier['id']}{query}", b"x", {**OCTETS, **headers})
    assert answer.status == status, answer.body
    assert node.request("POST", "/v2/run?configuration=99999", b"x", OCTETS).status == 400


def test_a_repeated_request_is_the_same_job(node: Any, copier: Any) -> None:
    first = run(node, copier, b"abc", Idempotency_Key="run-1")
    again = run(node, copier, b"abc", Idempotency_Key="run-1")
    assert first.body == again.body == b"abc"
    assert record_of(first)["id"] == record_of(again)["id"]
    # The node did not keep the output, so the job was run once more.
    assert record_of(again)["attempts"] == 2
    other = run(node, copier, b"abd", Idempotency_Key="run-1")
    assert (other.status, other.json["code"]) == (422, "key-used")


def test_fifty_at_once_with_one_key_are_one_job(node: Any) -> None:
    slow = node.configure("test_slow")
    parameters = '{"seconds": 0.5}'
    with ThreadPoolExecutor(50) as threads:
        answers = list(
            threads.map(
                lambda _: run(node, slow, b"abc", Job_Parameters=parameters, Idempotency_Key="fifty"), range(50)
            )
        )
    assert {answer.status for answer in answers} == {200}
    assert {answer.body for answer in answers} == {b"abc"}
    assert len({answer.headers["Location"] for answer in answers}) == 1


def test_a_job_that_takes_longer_goes_on_and_keeps_its_output(node: Any) -> None:
    slow = node.configure("test_slow")
    answer = run(node, slow, b"abc", "&wait=0.1", Job_Parameters='{"seconds": 0.5}')
    assert (answer.status, answer.json["progress"]["state"]) == (303, "running")
    assert node.get(answer.headers["Location"]).body == b"abc"
    record = node.get(f"/v2/jobs/{answer.json['id']}?wait=30").json
    assert record["result"]["size_bytes"] == 3
    assert node.get(record["result"]["url"]).body == b"abc"


def test_a_client_that_leaves_ends_its_job(node: Any) -> None:
    slow = node.configure("test_slow")
    connection = http.client.HTTPConnection(*node.address, timeout=60)
    headers = {**OCTETS, "Authorization": f"Bearer {node.token}", "Job-Parameters": '{"seconds": 600}'}
    before = {job["id"] for job in node.get("/v2/jobs").json["results"]}
    connection.request("POST", f"/v2/run?configuration={slow['id']}", b"abc", headers)
    while (job := node.get("/v2/jobs").json["results"][0])["id"] in before:
        pass
    node.until(job, lambda r: r["progress"]["state"] == "running")
    assert connection.sock is not None
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    assert node.ended(job)["errorcode"] == "cancelled"


def test_a_run_cut_by_the_nodes_end_can_be_sent_again(nodes: Any) -> None:
    first = nodes("--auth", "none", "--slots", "1")
    slow = first.configure("test_slow")
    connection = http.client.HTTPConnection(*first.address, timeout=60)
    path, headers = f"/v2/run?configuration={slow['id']}", {**OCTETS, "Idempotency-Key": "cut"}
    connection.request("POST", path, b"abc", {**headers, "Job-Parameters": '{"seconds": 2}'})
    first.until({"id": "1"}, lambda r: r.get("progress", {}).get("state") == "running")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    with pytest.raises(ConnectionError):
        connection.getresponse()
    connection.close()
    node = nodes("--auth", "none", "--slots", "1", state=first.state)
    record = node.get("/v2/jobs/1").json
    assert (record["progress"]["state"], record["failure"]["code"]) == ("failed", "worker-crashed")
    answer = node.request("POST", path, b"abc", {**headers, "Job-Parameters": '{"seconds": 2}'})
    assert (answer.status, answer.body, record_of(answer)["id"]) == (200, b"abc", "2")
    node.end()
    with sqlite3.connect(Path(node.state, "node.db")) as database:
        counted = database.execute("SELECT job, state FROM usage ORDER BY job").fetchall()
    assert counted == [(1, "failed"), (2, "succeeded")]


def test_commits_are_shared(nodes: Any) -> None:
    """What many jobs at once cost is far less than a commit each; every one has its row."""
    node = nodes("--auth", "none", "--slots", "2")
    copier = node.configure("test_copy")
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda number: run(node, copier, b"%d" % number), range(200)))
    assert [answer.body for answer in answers] == [b"%d" % number for number in range(200)]
    node.end()
    with sqlite3.connect(Path(node.state, "node.db")) as database:
        states = database.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall()
    assert states == [("succeeded", 200)]
