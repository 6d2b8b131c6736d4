"""``/v2/jobs``: begun once, overlapped with their input and output, followed, cancelled, kept across kills."""

from __future__ import annotations

import http.client
import json
import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from crc32c import crc32c
from node.conftest import eventually

TUS = {"Tus-Resumable": "1.0.0"}
JSON = {"Content-Type": "application/json"}


def begin(node: Any, key: str | None = None, wait: float = 0, **wanted: Any) -> Any:
    headers = {**JSON, **({"Idempotency-Key": key} if key else {})}
    return node.request("POST", f"/v2/jobs?wait={wait}", json.dumps(wanted), headers)


def created(node: Any, length: int, data: bytes = b"") -> str:
    headers = {**TUS, "Upload-Length": str(length), "Content-Type": "application/offset+octet-stream"}
    answer = node.request("POST", "/v2/files/", data, headers)
    assert answer.status == 201, answer.body
    return str(answer.headers["Location"])


def add(node: Any, url: str, offset: int, data: bytes) -> Any:
    headers = {**TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    return node.request("PATCH", url, data, headers)


def ended(node: Any, job: Any) -> Any:
    record = node.get(f"/v2/jobs/{job['id']}?wait=60").json
    assert record["ended"], record
    return record


def test_a_whole_job(node: Any, copier: Any) -> None:
    answer = begin(node, wait=30, configuration=copier["url"], upload=created(node, 5, b"hello"), name="a.txt")
    assert answer.status == 201
    record = answer.json
    urls = {"bytes_expected": None, "bytes_fetched": None, "bytes_delivered": None}
    assert record["progress"] == {"state": "succeeded", "bytes_in": 5, "bytes_total": 5, "bytes_out": 5, **urls}
    assert record["result"]["crc32c"] == f"{crc32c(b'hello'):08x}"
    assert (record["input_name"], record["attempts"], record["failure"]) == ("a.txt", 1, None)
    result = node.get(record["result"]["url"])
    assert result.body == b"hello"
    assert result.headers["Repr-Digest"].startswith("crc32c=:")
    assert node.get("/v2/jobs").json["results"][0]["id"] == record["id"]
    # One job, two views of it.
    assert node.get(f"/v1.0/process/{record['id']}").json["processed"] is True
    assert node.request("DELETE", f"/v2/jobs/{record['id']}").status == 204
    assert node.get(f"/v2/jobs/{record['id']}").status == 404


def test_the_job_begins_with_the_first_bytes_and_its_output_can_be_read_while_it_grows(node: Any, copier: Any) -> None:
    data = random.Random(3).randbytes(9_000_000)
    url = created(node, len(data), data[:1_000_000])
    job = begin(node, configuration=copier["url"], upload=url).json
    connection = http.client.HTTPConnection(*node.address, timeout=60)
    path = f"/v2/jobs/{job['id']}/result?follow=true"
    connection.request("GET", path, headers={"Authorization": f"Bearer {node.token}"})
    answer = connection.getresponse()
    assert answer.status == 200
    # The upload is not complete, and yet this much of the output is here.
    got = answer.read(1_000_000)
    assert got == data[:1_000_000]
    assert node.get(f"/v2/jobs/{job['id']}").json["progress"]["state"] == "running"
    assert node.get(f"/v2/jobs/{job['id']}/result").status == 404, "without follow it must be whole"
    for at in range(1_000_000, len(data), 4_000_000):
        assert add(node, url, at, data[at : at + 4_000_000]).status == 204
    assert got + answer.read() == data
    connection.close()
    record = ended(node, job)
    assert record["result"]["crc32c"] == f"{crc32c(data):08x}"
    rest = node.get(f"/v2/jobs/{job['id']}/result?follow=true&offset=8999990")
    assert rest.body == data[-10:]


def test_an_upload_that_is_removed_fails_its_job(node: Any, copier: Any) -> None:
    url = created(node, 100, b"x" * 50)
    job = begin(node, configuration=copier["url"], upload=url).json
    assert node.request("DELETE", url, headers=TUS).status == 204
    record = ended(node, job)
    assert record["progress"]["state"] == "failed"
    assert "removed before it was complete" in record["failure"]["detail"]


def test_a_job_that_fails_cuts_the_reader_off(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1")
    slow = node.configure("test_slow")
    url = created(node, 5000, b"x" * 5000)
    job = begin(node, configuration=slow["url"], upload=url, parameters={"seconds": 1.5, "then": "kill"}).json
    with pytest.raises(http.client.IncompleteRead):
        node.get(f"/v2/jobs/{job['id']}/result?follow=true")
    assert ended(node, job)["failure"]["code"] == "worker-crashed"
    assert node.get(f"/v2/jobs/{job['id']}/result?follow=true").status == 404


def test_one_key_is_one_job(node: Any, copier: Any) -> None:
    wanted = {"configuration": copier["url"], "upload": created(node, 3, b"abc")}
    with ThreadPoolExecutor(25) as threads:
        answers = list(threads.map(lambda _: begin(node, "one-key", 30, **wanted), range(50)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    other = begin(node, "one-key", configuration=copier["url"], upload=created(node, 3, b"abd"))
    assert (other.status, other.json["code"]) == (422, "key-used")
    assert begin(node, "ÿ", **wanted).status == 400
    assert begin(node, "x" * 201, **wanted).status == 400


def test_an_upload_is_one_jobs(node: Any, copier: Any) -> None:
    url = created(node, 10, b"x")
    first = begin(node, configuration=copier["url"], upload=url).json
    second = begin(node, configuration=copier["url"], upload=url)
    assert (second.status, "another job reads" in second.json["detail"]) == (409, True)
    assert add(node, url, 1, b"y" * 9).status == 204
    assert ended(node, first)["progress"]["state"] == "succeeded"


def test_a_failing_job_is_what_its_sender_is_told_of(nodes: Any) -> None:
    """The upload is gone with its job: 404 sends the client to the job, which says why."""
    node = nodes("--auth", "none", "--slots", "1")
    failing = node.configure("test_fail")
    url = created(node, 5_000_000, b"x" * 10)
    job = begin(node, configuration=failing["url"], upload=url).json
    record = ended(node, job)
    assert "no luck" in record["failure"]["detail"]
    assert add(node, url, 10, b"x" * 4_999_990).status == 404


def test_a_reader_is_cut_off_when_the_node_drains(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1", "--drain", "0")
    slow = node.configure("test_slow")
    url = created(node, 5000, b"x" * 5000)
    job = begin(node, configuration=slow["url"], upload=url, parameters={"seconds": 600}).json
    node.until(job, lambda r: r["progress"]["bytes_out"] > 2)
    connection = http.client.HTTPConnection(*node.address, timeout=60)
    connection.request("GET", f"/v2/jobs/{job['id']}/result?follow=true")
    answer = connection.getresponse()
    assert answer.read(1) == b"x"
    node.process.terminate()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    connection.close()
    assert node.process.wait(60) == 0


def test_events(node: Any) -> None:
    slow = node.configure("test_slow")
    url = created(node, 5000, b"x" * 5000)
    job = begin(node, configuration=slow["url"], upload=url, parameters={"seconds": 1}).json
    answer = node.get(f"/v2/jobs/{job['id']}/events")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    events = [
        dict(line.split(": ", 1) for line in part.splitlines()) for part in answer.body.decode().split("\n\n") if part
    ]
    assert {event["event"] for event in events[:-1]} == {"progress"}
    assert events[-1]["event"] == "ended"
    assert json.loads(events[-1]["data"])["progress"]["state"] == "succeeded"
    seen = [json.loads(event["data"])["bytes_in"] for event in events[:-1]]
    assert seen == sorted(seen)


@pytest.mark.parametrize("phase", ["uploading", "queued", "running", "ended"])
def test_cancelled_in_every_phase(nodes: Any, phase: str) -> None:
    node = nodes("--auth", "none", "--slots", "1")
    slow = node.configure("test_slow")
    if phase == "queued":
        begin(node, configuration=slow["url"], upload=created(node, 10, b"x" * 10))
    whole = phase != "uploading"
    seconds = 0 if phase == "ended" else 600
    url = created(node, 5000, b"x" * (5000 if whole else 2500))
    job = begin(node, configuration=slow["url"], upload=url, parameters={"seconds": seconds}).json
    if phase in ("running", "uploading"):
        node.until(job, lambda r: r["progress"]["bytes_in"] > 0)
    if phase == "ended":
        ended(node, job)
    answer = node.request("POST", f"/v2/jobs/{job['id']}/cancel")
    assert answer.json["progress"]["state"] == ("succeeded" if phase == "ended" else "cancelled")
    assert node.request("HEAD", url, headers=TUS).status == 404
    left = [name for name in node.spool() if not name.endswith(".partial")]
    assert len(left) == {"queued": 1, "ended": 1}.get(phase, 0)


def test_short_jobs_pass_long_ones(nodes: Any) -> None:
    """Two slots, three long jobs: one slot stays for short ones, and a short one does not wait behind the long."""
    node = nodes("--auth", "none", "--slots", "2")
    slow = node.configure("test_slow")
    long = [begin(node, configuration=slow["url"], upload=created(node, 10, b"x")).json for _ in range(3)]
    short = begin(node, wait=30, configuration=slow["url"], upload=created(node, 1, b"y"), parameters={"seconds": 0})
    assert short.json["progress"]["state"] == "succeeded"
    states = [node.get(f"/v2/jobs/{job['id']}").json["progress"]["state"] for job in long]
    assert states == ["running", "queued", "queued"]


def test_old_results_go(nodes: Any) -> None:
    first = nodes("--auth", "none", "--keep-results", "0.2")
    job = first.ended(first.send(first.configure("test_copy"), b"old"))
    time.sleep(0.3)
    assert first.end() == 0
    node = nodes("--auth", "none", "--keep-results", "0.2", state=first.state)
    eventually(lambda: node.get(f"/v2/jobs/{job['id']}").status == 404)
    eventually(lambda: node.spool() == [])


def test_uploads_go_on_after_a_drain(nodes: Any) -> None:
    first = nodes("--auth", "none", "--drain", "0")
    data = b"x" * 3_000_000
    url = created(first, len(data))
    with socket.create_connection(first.address, 60) as connection:
        head = f"PATCH {url.removeprefix(first.url)} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n"
        head += (
            f"Upload-Offset: 0\r\nContent-Length: {len(data)}\r\nContent-Type: application/offset+octet-stream\r\n\r\n"
        )
        connection.sendall(head.encode() + data[:2_000_000])
        time.sleep(0.5)
        assert first.end() == 0
    node = nodes("--auth", "none", state=first.state)
    answer = node.request("HEAD", url.removeprefix(first.url), headers=TUS)
    assert answer.headers["Upload-Offset"] == "2000000"
