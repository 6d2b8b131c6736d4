"""Jobs whose input, output or both the node itself reads from and writes to URLs."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from typing import Any

import pytest
from remote_servers import ObjectStore, WebServer, _certificate, _moto, s3, web  # noqa: F401

from acceleratorAPI.node import courier

DATA = random.Random(9).randbytes(2_500_001)
CANARY = "canary-5d0c"


@pytest.fixture
def open_node(nodes: Any, web: WebServer, s3: ObjectStore) -> Any:  # noqa: F811
    """A node that opens URLs of the two servers of loopback, and no others."""
    nodes.environment = {"SSL_CERT_FILE": str(web.authority), **s3.environment}
    options = ["--urls", "https,s3", "--urls-under", web.origin, "--urls-under", "s3://bucket"]
    node = nodes("--slots", "1", *options, "--urls-allow-address", "127.0.0.1/32", "--urls-allow-address", "::1/128")
    node.copier = node.configure("test_copy")
    return node


def send(node: Any, file: bytes | None = None, configuration: Any = None, **fields: str) -> Any:
    answer = node.post("/v1.0/process/", {"configuration": (configuration or node.copier)["url"], **fields}, file)
    assert answer.status == 200, answer.body
    return answer.json


def test_in_and_out_of_every_kind(open_node: Any, web: WebServer, s3: ObjectStore) -> None:  # noqa: F811
    web.page("/out")
    ins = {"https": web.page("/in", DATA), "s3": s3.put("in", DATA)}
    outs = {"https": f"{web.origin}/out", "s3": "s3://bucket/out"}
    for source in ins.values():
        job = open_node.ended(send(open_node, source=source))
        assert not job["inerror"], job
        assert job["datafile"] == source
        assert job["progress"]["bytes_total"] == len(DATA)
        assert open_node.get(f"/v1.0/process/{job['id']}/datafileresult").body == DATA
        open_node.request("DELETE", f"/v1.0/process/{job['id']}/")
        for target in outs.values():
            web.stored.clear()
            job = open_node.ended(send(open_node, source=source, target=target))
            assert not job["inerror"], job
            assert job["datafileresult"] is None
            assert (web.stored["/out"] if target.startswith("https") else s3.get("out")) == DATA
    job = open_node.ended(send(open_node, DATA, target=outs["s3"]))
    assert not job["inerror"], job
    assert s3.get("out") == DATA
    assert open_node.spool() == []
    assert s3.uploads() == []


def test_cuts_of_the_input_are_survived(open_node: Any, web: WebServer) -> None:  # noqa: F811
    source = web.page("/in", DATA, cuts=[0, 1, 1_000_000, 100])
    job = open_node.ended(send(open_node, source=source))
    assert not job["inerror"], job
    assert open_node.get(f"/v1.0/process/{job['id']}/datafileresult").body == DATA


def test_a_failed_fetch_is_a_failed_job(open_node: Any, web: WebServer, s3: ObjectStore) -> None:  # noqa: F811
    for source, words in (
        (web.page("/none", statuses=[404]), "404"),
        (web.page("/weak", DATA, etag=None, cuts=[1000]), "names no version"),
        ("s3://bucket/none", "no such object"),
    ):
        job = open_node.ended(send(open_node, source=source, target="s3://bucket/out"))
        assert (job["inerror"], job["errorcode"]) == (True, "file-access")
        assert words in job["parametersresult"]["app"]["msg"]
    assert s3.keys() == []
    assert open_node.spool() == []


def test_a_failed_job_or_upload_leaves_no_output(open_node: Any, web: WebServer, s3: ObjectStore) -> None:  # noqa: F811
    source = web.page("/in", DATA)
    fail = open_node.configure("test_fail")
    s3.put("out", b"before")
    job = open_node.ended(send(open_node, configuration=fail, source=source, target="s3://bucket/out"))
    assert job["errorcode"] == "function-failed"
    web.page("/refused", statuses=[403])
    job = open_node.ended(send(open_node, source=source, target=f"{web.origin}/refused"))
    assert job["errorcode"] == "file-access"
    assert "403" in job["parametersresult"]["app"]["msg"]
    assert s3.get("out") == b"before"
    assert s3.uploads() == []
    assert web.stored == {}
    assert open_node.spool() == []


@pytest.mark.parametrize("way", ["in", "out"])
def test_a_cancelled_transfer_ends_at_once(open_node: Any, web: WebServer, way: str) -> None:  # noqa: F811
    hang = threading.Event()
    if way == "in":
        job = send(open_node, source=web.page("/in", DATA, cuts=[1_500_000], hang=hang))
        running = open_node.until(job, lambda record: record["progress"]["bytes_fetched"])
        assert running["progress"]["state"] == "queued"
        assert running["progress"]["bytes_total"] == len(DATA)
        assert not running["processed"]
    else:
        # The server takes a little and is silent: more than the sockets hold must be on its way.
        big = DATA * 20
        web.page("/out", cuts=[1000], hang=hang)
        job = send(open_node, big, target=f"{web.origin}/out")
        open_node.until(job, lambda record: record["progress"]["bytes_delivered"])
    try:
        # The server hangs for a minute, the request for a moment.
        assert open_node.request("DELETE", f"/v1.0/process/{job['id']}/").status == 204
        assert not hang.is_set()
    finally:
        hang.set()
    assert web.stored == {}
    assert open_node.get(f"/v1.0/process/{job['id']}").status == 404
    assert open_node.ended(send(open_node, b"x"))["inerror"] is False
    assert open_node.spool() != []  # the last job's output only
    assert len(open_node.spool()) == 1


def test_many_fetches_wait_for_their_turn(open_node: Any, web: WebServer) -> None:  # noqa: F811
    hang = threading.Event()
    sources = [web.page(f"/in{n}", DATA[: 1000 + n], cuts=[500], hang=hang) for n in range(courier.TRANSFERS + 3)]
    jobs = [send(open_node, source=source) for source in sources]
    # One that still waits for its turn can be cancelled as well.
    assert open_node.request("DELETE", f"/v1.0/process/{jobs[-1]['id']}/").status == 204
    assert len({path for _, path, _ in web.requests}) <= courier.TRANSFERS
    hang.set()
    for number, job in enumerate(jobs[:-1]):
        job = open_node.ended(job)
        assert not job["inerror"], job
        assert job["progress"]["bytes_in"] == 1000 + number


def test_the_end_of_the_node_does_not_wait_for_a_silent_server(open_node: Any, web: WebServer) -> None:  # noqa: F811
    hang = threading.Event()
    job = send(open_node, source=web.page("/in", DATA, cuts=[1_500_000], hang=hang))
    open_node.until(job, lambda record: record["progress"]["bytes_fetched"])
    open_node.process.terminate()
    try:
        assert open_node.process.wait(20) == 0
    finally:
        hang.set()
    assert open_node.spool() == []


@pytest.mark.parametrize("field", ["source", "target"])
def test_what_the_options_do_not_name_is_refused_at_once(open_node: Any, field: str) -> None:
    for url, status in (
        ("https://127.0.0.1/x", 403),
        ("https://localhost/x", 403),
        ("https://example.org/x", 403),
        ("s3://other/x", 403),
        ("gs://bucket/x", 403),
        ("http://localhost/x", 403),
        ("ftp://localhost/x", 400),
        ("s3://bucket", 400),
        ("file:///etc/passwd", 403),
        ("https://user:pw@localhost/x", 400),
    ):
        file = b"x" if field == "target" else None
        answer = open_node.post("/v1.0/process/", {"configuration": open_node.copier["url"], field: url}, file)
        assert answer.status == status, (url, answer.body)
        assert "pw" not in answer.json["detail"]
    assert open_node.spool() == []


def test_a_node_opens_no_urls_unless_it_is_told_to(node: Any, copier: Any) -> None:
    for url in "https://example.org/x", "s3://bucket/x", "gs://bucket/x":
        answer = node.post("/v1.0/process/", {"configuration": copier["url"], "source": url})
        assert answer.status == 403
        assert "--urls" in answer.json["detail"]


@pytest.mark.parametrize(
    "options",
    [
        ["--urls", "ftp"],
        ["--urls-under", "https://x"],
        ["--urls", "https", "--urls-under", "x"],
        ["--urls", "https", "--urls-allow-address", "x"],
    ],
)
def test_wrong_options_end_the_node(nodes: Any, options: list[str]) -> None:
    node = nodes.spawn(*options)
    assert node.process.wait(30) == 2
    assert "--urls" in node.log
    assert len(node.log.splitlines()) == 1


def test_secrets_of_urls_are_kept_nowhere(open_node: Any, web: WebServer) -> None:  # noqa: F811
    query = f"?X-Amz-Signature={CANARY}&X-Amz-Credential={CANARY}"
    web.page("/none", statuses=[500] * 99)
    web.page("/moved", location=f"https://127.0.0.9:{web.port}/x{query}")
    web.page("/in", DATA)
    web.page("/out")
    answers = []
    for source in "/in", "/none", "/moved":
        job = send(open_node, source=web.origin + source + query, target=f"{web.origin}/out{query}")
        answers.append(json.dumps(open_node.ended(job)))
    assert f"/out{query}" in [path for _, path, _ in web.requests]
    for bad in f"https://u:{CANARY}@localhost/x{query}", f"https://evil.example/{query}", f"ftp://x/{query}":
        sent = [{"configuration": "1", field: bad} for field in ("source", "target")]
        answers += [open_node.post("/v1.0/process/", fields).body.decode() for fields in sent]
    parameters = {"app": {"specific": {"url": f"{web.origin}/in{query}"}}}
    wrong = open_node.post("/v1.0/process/", {"configuration": "1", "parameters": json.dumps(parameters)}, b"x")
    answers += [wrong.body.decode(), open_node.get("/v1.0/process/").body.decode()]
    open_node.end()
    with sqlite3.connect(open_node.state / "node.db") as database:
        stored = "\n".join(database.iterdump())
    database.close()
    for text in [stored, open_node.log, *answers]:
        assert CANARY not in text
    assert f"{web.origin}/in" in stored
