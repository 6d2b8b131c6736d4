"""``/v2/batch``: a job for each of several small files, in one request."""

from __future__ import annotations

import gzip
import http.client
import json
import signal
import socket
import sqlite3
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from crc32c import crc32c

from acceleratorAPI.protocol.batch import BODY_BYTES, INPUT_BYTES, MOST_JOBS
from acceleratorAPI.protocol.digests import crc32c_field

BOUNDARY = "b"


class Part(NamedTuple):
    status: int
    headers: Any
    body: bytes

    @property
    def record(self) -> Any:
        return json.loads(self.headers["Job-Record"] or self.body)


def form(*inputs: tuple[str, bytes], name: str = "datafile") -> bytes:
    parts = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for file, data in inputs
    )
    return parts + f"--{BOUNDARY}--\r\n".encode()


def send(node: Any, configuration: Any, body: bytes, query: str = "", **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    path = f"/v2/batch?configuration={configuration['id']}{query}"
    return node.request("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **sent})


def parts(answer: Any) -> list[Part]:
    """As the standard library reads them, which is not how our client does."""
    assert answer.status == 200, answer.body
    whole = message_from_bytes(
        b"Content-Type: " + answer.headers["Content-Type"].encode() + b"\r\n\r\n" + answer.body, policy=HTTP
    )
    assert whole.get_content_type() == "multipart/mixed"
    found = []
    for part in whole.iter_parts():  # type: ignore[attr-defined]
        body = part.get_payload(decode=True)
        assert len(body) == int(part["Content-Length"])
        found.append(Part(int(part["Status"]), part, body))
    return found


def batch(node: Any, configuration: Any, *inputs: tuple[str, bytes], query: str = "", **headers: str) -> list[Part]:
    return parts(send(node, configuration, form(*inputs), query, **headers))


def counted(node: Any) -> list[tuple[int, str]]:
    with sqlite3.connect(Path(node.state, "node.db")) as database:
        return database.execute("SELECT job, state FROM usage ORDER BY job").fetchall()


def test_each_file_is_a_job_and_each_output_a_part(node: Any, copier: Any) -> None:
    before = node.spool()
    inputs = [("ä b.txt", b"first"), ("empty", b""), ("../c", b"\r\n--\r\n\r"), ("d", bytes(range(256)) * 40)]
    found = batch(node, copier, *inputs, Content_Digest=crc32c_field(crc32c(form(*inputs))))
    assert [(part.status, part.body) for part in found] == [(200, data) for _, data in inputs]
    assert [part.headers["Repr-Digest"] for part in found] == [crc32c_field(crc32c(data)) for _, data in inputs]
    assert [part.record["input_name"] for part in found] == [name for name, _ in inputs]
    assert len({part.record["id"] for part in found}) == 4
    assert node.spool() == before
    for part in found:
        # The same job by every other view.
        assert node.get(part.headers["Location"]).json == part.record


def test_one_that_fails_leaves_the_others_as_they_are(node: Any) -> None:
    gunzip = node.configure("cast_gunzip")
    good, large = gzip.compress(b"good"), gzip.compress(bytes(3_000_000))
    found = batch(node, gunzip, ("a", good), ("b", b"not gzip"), ("c", large), ("d", good))
    assert [part.status for part in found] == [200, 400, 303, 200]
    assert (found[0].body, found[3].body) == (b"good", b"good")
    assert json.loads(found[1].body)["code"] == "corrupt-input"
    assert node.get(found[2].headers["Location"]).body == bytes(3_000_000)


def test_parameters_and_a_function_without_output(node: Any) -> None:
    found = batch(node, node.configure("test_count"), ("a", b"four"), ("b", b"12"))
    assert [part.record["app"]["specific"]["count"] for part in found] == [4, 2]
    failing = batch(node, node.configure("test_fail"), ("a", b"x"), Job_Parameters='{"how": "typed"}')
    assert (failing[0].status, json.loads(failing[0].body)["code"]) == (422, "function-failed")


@pytest.mark.parametrize(
    ("body", "query", "headers", "status", "said"),
    [
        (form(), "", {}, 400, "no part 'datafile'"),
        (form(("a", b"x"), name="file"), "", {}, 400, "a part named 'file'"),
        (form(*[("a", b"x")] * (MOST_JOBS + 1)), "", {}, 400, f"more than {MOST_JOBS} inputs"),
        (form(("a", bytes(INPUT_BYTES + 1))), "", {}, 400, "send it by POST /v2/run"),
        (form(*[("a", bytes(INPUT_BYTES))] * 4, ("b", bytes(BODY_BYTES - 4 * INPUT_BYTES))), "", {}, 413, "send fewer"),
        (form(("a", b"x"))[:-6], "", {}, 400, "final boundary"),
        (form(("a", b"x")), "&wait=61", {}, 400, "wait"),
        (form(("a", b"x")), "", {"Job-Parameters": '{"unknown": 1}'}, 400, "unknown"),
        (form(("a", b"x")), "", {"Content-Digest": "crc32c=:AAAAAA==:"}, 460, "CRC32C"),
        (b"x", "", {"Content-Type": "application/octet-stream"}, 415, "multipart/form-data"),
        (b"x", "", {"Content-Type": "multipart/form-data"}, 400, "boundary"),
    ],
)
def test_wrong_requests_begin_nothing(
    node: Any, copier: Any, body: bytes, query: str, headers: dict[str, str], status: int, said: str
) -> None:
    newest = node.get("/v2/jobs").json["count"]
    answer = send(node, copier, body, query, **headers)
    assert answer.status == status, answer.body
    assert said.lower() in answer.json["detail"].lower()
    assert node.get("/v2/jobs").json["count"] == newest


def test_a_repeated_request_is_the_same_jobs(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "2")
    gunzip = node.configure("cast_gunzip")
    inputs = [("a", gzip.compress(b"one")), ("b", b"not gzip"), ("c", gzip.compress(bytes(3_000_000)))]
    first = batch(node, gunzip, *inputs, Idempotency_Key="k")
    again = batch(node, gunzip, *inputs, Idempotency_Key="k")
    assert [part.status for part in first] == [part.status for part in again] == [200, 400, 303]
    # What the node did not keep was run once more; what it has, it has.
    assert (again[0].record["id"], again[0].record["attempts"], again[0].body) == ("1", 2, b"one")
    assert (again[2].record["id"], again[2].record["attempts"]) == ("3", 1)
    assert json.loads(again[1].body) == json.loads(first[1].body)
    other = send(node, gunzip, form(*inputs[:2]), Idempotency_Key="k")
    assert (other.status, other.json["code"]) == (422, "key-used")
    node.end()
    assert counted(node) == [(1, "succeeded"), (2, "failed"), (3, "succeeded")]


def test_what_takes_longer_goes_on_and_keeps_its_output(node: Any) -> None:
    slow = node.configure("test_slow")
    found = batch(node, slow, ("a", b"abc"), ("b", b"def"), query="&wait=0.1", Job_Parameters='{"seconds": 0.5}')
    assert [part.status for part in found] == [303, 303]
    assert [node.get(part.headers["Location"]).body for part in found] == [b"abc", b"def"]


def test_a_client_that_leaves_ends_all_its_jobs(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1")
    slow = node.configure("test_slow")
    connection = http.client.HTTPConnection(*node.address, timeout=60)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Job-Parameters": '{"seconds": 600}'}
    body = form(("a", b"abc"), ("b", b"def"), ("c", b"ghi"))
    connection.request("POST", f"/v2/batch?configuration={slow['id']}", body, headers)
    node.until({"id": "1"}, lambda r: r.get("progress", {}).get("state") == "running")
    assert connection.sock is not None
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    assert [node.ended({"id": number})["errorcode"] for number in ("1", "2", "3")] == ["cancelled"] * 3


def test_jobs_cut_by_the_nodes_end_are_run_when_they_are_sent_again(nodes: Any) -> None:
    first = nodes("--auth", "none", "--slots", "1")
    slow = first.configure("test_slow")
    connection = http.client.HTTPConnection(*first.address, timeout=60)
    headers = {"Idempotency_Key": "cut", "Job_Parameters": '{"seconds": 2}'}
    sent = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    body = form(("a", b"abc"), ("b", b"def"))
    connection.request("POST", f"/v2/batch?configuration={slow['id']}", body, sent)
    first.until({"id": "1"}, lambda r: r.get("progress", {}).get("state") == "running")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    connection.close()
    node = nodes("--auth", "none", "--slots", "1", state=first.state)
    found = parts(send(node, slow, body, **headers))
    assert [(part.status, part.body, part.record["id"]) for part in found] == [(200, b"abc", "3"), (200, b"def", "4")]
    node.end()
    assert counted(node) == [(1, "failed"), (2, "failed"), (3, "succeeded"), (4, "succeeded")]


def test_quotas_count_each_job(nodes: Any) -> None:
    node = nodes("--slots", "1", "--client-jobs", "3")
    copier = node.configure("test_copy")
    assert len(batch(node, copier, *[("a", b"x")] * 3)) == 3
    refused = send(node, copier, form(*[("a", b"x")] * 4))
    assert (refused.status, refused.json["code"]) == (429, "quota")
    assert "--client-jobs 3" in refused.json["detail"]
    assert node.get("/v2/jobs").json["count"] == 3
