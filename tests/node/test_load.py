"""Many at once: one key, cancels at every stage, an end under load, more than the node can take."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from node.conftest import eventually

from acceleratorAPI.client import node as client_node
from acceleratorAPI.client.transfer import Input
from acceleratorAPI.errors import DatafileError

TUS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
JSON = {"Content-Type": "application/json"}
OCTETS = {"Content-Type": "application/octet-stream"}


def begin(node: Any, key: str | None = None, **wanted: Any) -> Any:
    return node.request("POST", "/v2/jobs", json.dumps(wanted), {**JSON, **({"Idempotency-Key": key} if key else {})})


def created(node: Any, length: int, data: bytes = b"") -> str:
    answer = node.request("POST", "/v2/files/", data, {**TUS, "Upload-Length": str(length)})
    assert answer.status == 201, answer.body
    return str(answer.headers["Location"])


def used_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


def test_one_key_fifty_times_in_parallel_is_one_job(node: Any, copier: Any) -> None:
    url = created(node, 3, b"abc")
    before = node.get("/v2/jobs").json["count"]
    with ThreadPoolExecutor(50) as threads:
        ask = lambda _: begin(node, "fifty-jobs", configuration=copier["url"], upload=url)  # noqa: E731
        answers = list(threads.map(ask, range(50)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.json["id"] for answer in answers}) == 1
    assert node.get("/v2/jobs").json["count"] == before + 1
    other = begin(node, "fifty-jobs", configuration=copier["url"], upload=url, name="other")
    assert (other.status, other.json["code"]) == (422, "key-used")


def test_a_configuration_waits_for_a_worker_as_long_as_it_takes(
    nodes: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node = nodes("--slots", "1")
    job = node.send(node.configure("test_slow"), b"x" * 100, seconds=600)
    node.until(job, lambda r: r["progress"]["bytes_in"] > 0)
    fields = {"parameters": json.dumps({"env": {"accelerator": "test_copy"}})}
    early = node.post("/v1.0/configuration/?wait=0.1", fields).json
    assert (early["processed"], early["inerror"], early["used"]) == (False, False, False)
    monkeypatch.setattr(client_node, "CONFIGURE_WAIT_S", 0.1)
    client = client_node.NodeClient(node.url, node.token)
    with ThreadPoolExecutor(1) as threads:
        wanted = {"env": {"accelerator": "test_copy"}}
        started = threads.submit(client.configure, wanted, None, lambda *_: None)
        eventually(lambda: "waiting for a free worker to make test_copy ready" in caplog.text)
        assert not started.done()
        assert node.request("DELETE", f"/v2/jobs/{job['id']}").status == 204
        assert started.result(60).processed
        refused = threads.submit(
            client.configure, {"env": {"accelerator": "test_words"}}, Input(b"wrong"), lambda *_: None
        )
        with pytest.raises(DatafileError, match="line 1"):
            refused.result(60)
    assert eventually(lambda: node.get(f"/v1.0/configuration/{early['id']}/").json["processed"])


@pytest.mark.parametrize("stage", ["queued", "uploading", "running", "finishing"])
def test_a_cancelled_job_leaves_nothing_whatever_it_was_doing(nodes: Any, stage: str) -> None:
    node = nodes("--auth", "none", "--slots", "1")
    slow, copier = node.configure("test_slow"), node.configure("test_copy")
    before = used_bytes(node.state / "spool")
    if stage == "queued":
        first = node.send(slow, b"x" * 5000, seconds=600)
        job = node.send(slow, bytes(2_000_000), seconds=600)
        others = [first]
    elif stage == "uploading":
        job = begin(node, configuration=copier["url"], upload=created(node, 4_000_000, bytes(1_000_000))).json
        node.until(job, lambda r: r["progress"]["bytes_in"] > 0)
        others = []
    else:
        # One that finishes writes and flushes much.
        seconds = 600 if stage == "running" else 0
        job = node.send(slow, bytes(64_000_000 if stage == "finishing" else 5000), seconds=seconds)
        node.until(job, lambda r: r["progress"]["bytes_in"] > 0)
        others = []
    record = node.request("POST", f"/v2/jobs/{job['id']}/cancel").json
    assert record["progress"]["state"] in (("cancelled",) if stage != "finishing" else ("cancelled", "succeeded"))
    for each in (job, *others):
        assert node.request("DELETE", f"/v2/jobs/{each['id']}").status == 204
    children = psutil.Process(node.process.pid).children(recursive=True)
    assert len([child for child in children if child.status() != psutil.STATUS_ZOMBIE]) <= 1, "but the next worker"
    assert used_bytes(node.state / "spool") <= before + 0.01 * 2_000_000
    # The node goes on.
    assert node.ended(node.send(copier, b"abc"))["inerror"] is False


def test_an_end_under_load_loses_nothing(nodes: Any) -> None:
    """Eight uploads on their way, four jobs that run or wait: all go on at the next start."""
    first = nodes("--auth", "none", "--slots", "2", "--drain", "0")
    slow = first.configure("test_slow")
    jobs = [first.send(slow, b"abc", seconds=0.5 if number > 1 else 600) for number in range(4)]
    first.until(jobs[0], lambda r: r["progress"]["state"] == "running")
    data = bytes(range(250)) * 40_000
    urls = [created(first, len(data)) for _ in range(8)]
    sockets = []
    for url in urls:
        connection = socket.create_connection(first.address, 60)
        head = (
            f"PATCH {url[len(first.url) :]} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
            f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        connection.sendall(head.encode() + data[:3_000_000])
        sockets.append(connection)
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(60) == 0
    for connection in sockets:
        connection.close()
    node = nodes("--auth", "none", "--slots", "2", state=first.state)
    for url in urls:
        path = url[len(first.url) :]
        offset = int(node.request("HEAD", path, headers=TUS).headers["Upload-Offset"])
        assert node.request("PATCH", path, data[offset:], {**TUS, "Upload-Offset": str(offset)}).status == 204
        assert node.get(path).body == data
    for job in jobs[:2]:
        assert node.request("DELETE", f"/v2/jobs/{job['id']}").status == 204
    for job in jobs[2:]:
        assert node.get(node.ended(job)["datafileresult"]).body == b"abc"


def test_more_than_the_node_can_take_is_refused_and_the_rest_is_done(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1", "--queue", "4")
    slow = node.configure("test_slow")

    def ask(number: int) -> tuple[int, str | None, bytes]:
        connection = http.client.HTTPConnection(*node.address, timeout=60)
        headers = {**OCTETS, "Job-Parameters": '{"seconds": 0.2}'}
        connection.request("POST", f"/v2/run?configuration={slow['id']}", b"%d" % number, headers)
        answer = connection.getresponse()
        found = answer.status, answer.getheader("Retry-After"), answer.read()
        connection.close()
        return found

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(ask, range(50)))
    done = [number for number, (status, _, body) in enumerate(answers) if status == 200 and body == b"%d" % number]
    refused = [answer for answer in answers if answer[0] == 503]
    assert len(done) + len(refused) == 50
    assert len(done) >= 5
    assert refused
    assert all(after is not None and int(after) >= 1 for _, after, _ in refused)
    assert node.get("/health/ready").status == 200
