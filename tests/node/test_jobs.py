from __future__ import annotations

import gzip
import json
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def single(nodes: Any) -> Any:
    """A node with one worker and room for one waiting job."""
    return nodes("--auth", "none", "--slots", "1", "--queue", "1")


def running(node: Any, configuration: Any, **parameters: Any) -> Any:
    return node.until(node.send(configuration, b"x" * 5000, **parameters), lambda r: r["progress"]["bytes_in"] > 0)


@pytest.mark.parametrize(
    ("how", "message"),
    [("kill", "the worker process was killed by SIGKILL"), ("exit", "the worker process ended with exit code 3")],
)
def test_a_crash_fails_its_job_and_the_next_one_works(single: Any, how: str, message: str) -> None:
    slow = single.configure("test_slow")
    job = single.ended(single.send(slow, b"abc", seconds=0, then=how))
    assert (job["processed"], job["inerror"], job["errorcode"]) == (True, True, "worker-crashed")
    app = job["parametersresult"]["app"]
    assert app["status"] == -1
    assert app["msg"].startswith(message)
    assert job["datafileresult"] is None
    assert single.spool() == []
    again = single.ended(single.send(slow, b"abc", seconds=0))
    assert single.get(again["datafileresult"]).body == b"abc"


def test_a_worker_killed_from_outside(single: Any) -> None:
    slow = single.configure("test_slow")
    job = running(single, slow)
    (worker,) = single.workers()
    worker.kill()
    ended = single.ended(job)
    assert "SIGKILL" in ended["parametersresult"]["app"]["msg"]
    assert single.ended(single.send(slow, b"abc", seconds=0))["inerror"] is False


def test_a_worker_killed_while_idle_costs_no_job(single: Any) -> None:
    words = single.configure("test_words", b"a,b")
    first = single.ended(single.send(words, b"a"))
    (worker,) = single.workers()
    worker.kill()
    second = single.ended(single.send(words, b"aa"))
    # The new worker was configured again from the stored datafile.
    assert single.get(second["datafileresult"]).body == b"bb"
    pids = [job["parametersresult"]["app"]["specific"]["pid"] for job in (first, second)]
    assert pids[0] != pids[1]


def test_more_configurations_than_a_worker_keeps(single: Any) -> None:
    configurations = [single.configure("test_words", f"a,{letter}".encode()) for letter in "bcdefg"]
    for configuration, letter in zip(configurations, b"bcdefg", strict=True):
        job = single.ended(single.send(configuration, b"a"))
        assert single.get(job["datafileresult"]).body == bytes([letter])


@pytest.mark.parametrize("how", ["typed", "untyped", "unserialisable"])
def test_a_failing_function(single: Any, how: str) -> None:
    fail = single.configure("test_fail")
    job = single.ended(single.send(fail, b"x", how=how, token="hush-hush"))
    assert (job["inerror"], job["errorcode"]) == (True, "function-failed")
    message = job["parametersresult"]["app"]["msg"]
    if how == "typed":
        assert message == "no luck with ***"
    elif how == "untyped":
        assert message == "test_fail failed: RuntimeError: first line second line ***"
    assert single.spool() == []
    assert "hush-hush" not in single.log


def test_progress_while_running(single: Any) -> None:
    job = running(single, single.configure("test_slow"))
    record = single.until(job, lambda r: r["progress"]["bytes_in"] > 5)
    assert record["processed"] is False
    assert record["progress"]["state"] == "running"
    assert record["progress"]["bytes_total"] == 5000
    assert record["progress"]["bytes_out"] > 0


def test_waiting_ends_with_the_job(single: Any) -> None:
    slow = single.configure("test_slow")
    job = single.send(slow, b"abc", seconds=1)
    assert single.get(f"/v1.0/process/{job['id']}?wait=0.1").json["processed"] is False
    assert single.get(f"/v1.0/process/{job['id']}?wait=60").json["processed"] is True
    for wait in ("-1", "61", "x"):
        assert single.get(f"/v1.0/process/{job['id']}?wait={wait}").status == 400


def test_deleting_cancels(single: Any) -> None:
    slow = single.configure("test_slow")
    first, second = running(single, slow), single.send(slow, b"abc")
    assert second["progress"]["state"] == "queued"
    waiter: list[Any] = []
    thread = threading.Thread(target=lambda: waiter.append(single.get(f"/v1.0/process/{first['id']}?wait=60")))
    thread.start()
    for job in (second, first):
        assert single.request("DELETE", f"/v1.0/process/{job['id']}/").status == 204
        assert single.get(f"/v1.0/process/{job['id']}").status == 404
    thread.join(30)
    assert waiter[0].status in (200, 404)
    assert single.spool() == []
    assert single.ended(single.send(slow, b"abc", seconds=0))["inerror"] is False


def test_a_full_queue_answers_before_the_body(single: Any) -> None:
    slow = single.configure("test_slow")
    first = running(single, slow)
    single.send(slow, b"abc")
    with socket.create_connection(single.address, 30) as connection:
        connection.sendall(
            b"POST /v1.0/process/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n"
            b"Expect: 100-continue\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        head = connection.recv(65536)
    assert head.startswith(b"HTTP/1.1 503")
    assert b"retry-after: " in head.lower()
    answer = single.post("/v1.0/process/", {"configuration": slow["url"]}, b"abc")
    assert (answer.status, answer.json["code"]) == (503, "busy")
    assert "--queue 1" in answer.json["detail"]
    single.request("DELETE", f"/v1.0/process/{first['id']}")
    assert single.post("/v1.0/process/", {"configuration": slow["url"]}, b"abc").status in (200, 503)


def test_as_many_jobs_at_once_as_slots(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "2")
    slow = node.configure("test_slow")
    jobs = [node.send(slow, b"x" * 500) for _ in range(3)]
    for job in jobs[:2]:
        node.until(job, lambda r: r["progress"]["state"] == "running")
    assert node.get(f"/v1.0/process/{jobs[2]['id']}").json["progress"]["state"] == "queued"


def test_files_in_place(node: Any, copier: Any, shared_folder: Path) -> None:
    source, target = shared_folder / "in put%.bin", shared_folder / "out.bin"
    source.write_bytes(b"content")
    target.write_bytes(b"old")
    target.chmod(0o640)
    fields = {"configuration": copier["url"], "source": source.as_uri(), "target": str(target)}
    job = node.ended(node.post("/v1.0/process/", fields).json)
    assert job["inerror"] is False, job
    assert job["datafileresult"] is None
    assert job["datafile"] == str(source)
    assert target.read_bytes() == b"content"
    assert target.stat().st_mode & 0o777 == 0o640
    before = node.spool()
    job = node.ended(node.post("/v1.0/process/", {"configuration": copier["url"], "source": str(source)}).json)
    assert node.get(job["datafileresult"]).body == b"content"
    answer = node.post("/v1.0/process/", {"configuration": copier["url"], "target": str(target)}, b"sent")
    assert node.ended(answer.json)["inerror"] is False
    assert target.read_bytes() == b"sent"
    assert len(node.spool()) == len(before) + 1


def test_a_failing_job_leaves_the_target_alone(node: Any, shared_folder: Path) -> None:
    source, target = shared_folder / "in2", shared_folder / "out2"
    source.write_bytes(b"content")
    target.write_bytes(b"old")
    for configuration, parameters in (
        (node.configure("test_fail"), {}),
        (node.configure("test_slow"), {"seconds": 0.2, "then": "kill"}),
    ):
        fields = {"configuration": configuration["url"], "source": str(source), "target": str(target)}
        fields["parameters"] = json.dumps({"app": parameters})
        assert node.ended(node.post("/v1.0/process/", fields).json)["inerror"] is True
        assert target.read_bytes() == b"old"
    assert [path.name for path in shared_folder.iterdir() if "partial" in path.name] == []


def test_files_elsewhere_are_refused(node: Any, copier: Any, shared_folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(b"secret")
    link = shared_folder / "link"
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    inside = shared_folder / "in3"
    inside.write_bytes(b"1")
    for source in (str(outside), outside.as_uri(), str(link), f"{shared_folder}/../{tmp_path.name}/x", "/etc/passwd"):
        answer = node.post("/v1.0/process/", {"configuration": copier["url"], "source": source})
        assert (answer.status, answer.json["code"]) == (403, "permission"), source
        assert "--files-under" in answer.json["detail"]
    fields = {"configuration": copier["url"], "source": str(inside), "target": str(link)}
    assert node.post("/v1.0/process/", fields).status == 403
    sibling = Path(f"{shared_folder}-sibling")
    sibling.mkdir(exist_ok=True)
    answer = node.post("/v1.0/process/", {"configuration": copier["url"], "source": str(sibling / "x")})
    assert answer.status == 403
    assert outside.read_bytes() == b"secret"


def test_wrong_files_in_place(node: Any, copier: Any, shared_folder: Path) -> None:
    source = shared_folder / "in4"
    source.write_bytes(b"1")
    cases = {
        ("file-access", "No such file"): {"source": f"{shared_folder}/absent"},
        ("file-access", "it is a folder"): {"source": str(shared_folder)},
        ("file-access", "there is no folder"): {"source": str(source), "target": f"{shared_folder}/no/out"},
        ("file-access", "name a file in it"): {"source": str(source), "target": str(shared_folder)},
        ("input", "use an absolute path"): {"source": "in4"},
        ("input", "use file:///absolute/path"): {"source": "file://elsewhere/in4"},
    }
    for (code, text), fields in cases.items():
        answer = node.post("/v1.0/process/", {"configuration": copier["url"], **fields})
        assert (answer.status, answer.json["code"]) == (400, code), fields
        assert text in answer.json["detail"]
    answer = node.post("/v1.0/process/", {"configuration": copier["url"], "source": str(source)}, b"2")
    assert (answer.status, answer.json["detail"]) == (
        400,
        "both datafile and source were sent; send one of them",
    )


def test_no_files_in_place_unless_allowed(single: Any, tmp_path: Path) -> None:
    configuration = single.configure("test_copy")
    (tmp_path / "x").write_bytes(b"1")
    answer = single.post("/v1.0/process/", {"configuration": configuration["url"], "source": str(tmp_path / "x")})
    assert answer.status == 403


def test_a_stopped_worker_does_not_stop_the_node(single: Any) -> None:
    slow = single.configure("test_slow")
    job = running(single, slow)
    (worker,) = single.workers()
    worker.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    assert single.get("/health/ready").status == 200
    assert single.request("DELETE", f"/v1.0/process/{job['id']}").status == 204
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("size", [5_000_000, 5_000_001, 1 << 30])
def test_an_output_beyond_the_limit_fails_and_leaves_nothing(nodes: Any, size: int, shared_folder: Path) -> None:
    node = nodes("--auth", "none", "--slots", "1", "--max-output", "5000000", "--files-under", str(shared_folder))
    bomb = gzip.compress(bytes(size), 1)
    job = node.ended(node.send(node.configure("cast_gunzip"), bomb))
    app = job["parametersresult"]["app"]
    if size <= 5_000_000:
        assert job["inerror"] is False, app
        return
    assert (job["inerror"], job["errorcode"]) == (True, "output-limit")
    assert app["msg"].startswith("the output grows beyond 5000000 bytes")
    assert "--max-output" in app["msg"]
    assert node.spool() == []
