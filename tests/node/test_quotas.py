"""What one token may have under way, and what stays for how long."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

TUS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
JSON = {"Content-Type": "application/json"}


def upload(node: Any, length: int | None, data: bytes = b"", **headers: str) -> Any:
    size = {"Upload-Length": str(length)} if length is not None else {"Upload-Defer-Length": "1"}
    return node.request("POST", "/v2/files/", data, {**TUS, **size, **headers})


def refused(answer: Any, status: int, code: str) -> Any:
    assert (answer.status, answer.json["code"]) == (status, code), answer.body
    assert int(answer.headers["Retry-After"]) >= 1
    return answer.json


def other_token(node: Any) -> dict[str, str]:
    command = [sys.executable, "-m", "acceleratorAPI", "node", "token", "new", "--scopes", "read,process"]
    done = subprocess.run([*command, "--state", str(node.state)], check=True, capture_output=True, text=True)
    return {"Authorization": f"Bearer {done.stdout.strip()}"}


def test_jobs_of_one_token(nodes: Any) -> None:
    node = nodes("--slots", "1", "--client-jobs", "2")
    slow = node.configure("test_slow")
    jobs = [node.send(slow, b"x" * 5000, seconds=600) for _ in range(2)]
    body = json.dumps({"configuration": slow["id"]})
    problem = refused(node.request("POST", "/v2/jobs", body, JSON), 429, "quota")
    assert "--client-jobs 2" in problem["detail"]
    refused(node.post("/v1.0/process/", {}, b"x"), 429, "quota")
    refused(node.request("POST", "/v2/run", b"x", {"Content-Type": "application/octet-stream"}), 429, "quota")
    # Another token has its own.
    other = other_token(node)
    answer = node.request("POST", "/v2/run?wait=0", b"x", {"Content-Type": "application/octet-stream", **other})
    assert answer.status == 303
    assert node.request("DELETE", f"/v2/jobs/{jobs[0]['id']}").status == 204
    assert node.send(slow, b"x", seconds=600)["processed"] is False


def test_uploads_of_one_token(nodes: Any) -> None:
    node = nodes("--slots", "1", "--client-uploads", "2")
    begun = [upload(node, 10) for _ in range(2)]
    refused(upload(node, 10), 429, "quota")
    assert upload(node, 10, **other_token(node)).status == 201
    path = begun[0].headers["Location"]
    assert node.request("PATCH", path, b"0123456789", {**TUS, "Upload-Offset": "0"}).status == 204
    # Complete ones do not count.
    assert upload(node, 10).status == 201


def test_creations_at_the_same_time_share_a_quota(nodes: Any) -> None:
    node = nodes("--slots", "1", "--client-uploads", "7", "--client-bytes", "50000")
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: upload(node, 10), range(50)))
        assert Counter(answer.status for answer in answers) == {201: 7, 429: 43}
        for answer in answers:
            if answer.status == 201:
                assert node.request("DELETE", answer.headers["Location"], headers=TUS).status == 204
        answers = list(threads.map(lambda _: upload(node, 20_000), range(50)))
    assert Counter(answer.status for answer in answers) == {201: 2, 507: 48}
    assert len(node.spool()) == 2


def test_bytes_of_one_token(nodes: Any) -> None:
    node = nodes("--slots", "1", "--client-bytes", "30000000")
    copier = node.configure("test_copy")
    first = upload(node, 20_000_000)
    problem = refused(upload(node, 20_000_000), 507, "spool-quota")
    assert (problem["needed_bytes"], problem["free_bytes"]) == (20_000_000, 10_000_000)
    refused(node.post("/v1.0/process/", {}, bytes(11_000_000)), 507, "spool-quota")
    octets = {"Content-Type": "application/octet-stream"}
    refused(node.request("POST", "/v2/run", bytes(11_000_000), octets), 507, "spool-quota")
    # One whose length nobody has told, as it grows.
    refused(upload(node, None, bytes(28_000_000)), 507, "spool-quota")
    refused(node.request("POST", "/v2/run", iter([bytes(1_000_000)] * 11), octets), 507, "spool-quota")
    # One whose length is told late.
    late = upload(node, None).headers["Location"]
    told = {**TUS, "Upload-Offset": "0", "Upload-Length": "20000000"}
    refused(node.request("PATCH", late, b"x", told), 507, "spool-quota")
    assert node.request("DELETE", late, headers=TUS).status == 204
    assert upload(node, 20_000_000, **other_token(node)).status == 201
    assert node.request("DELETE", first.headers["Location"], headers=TUS).status == 204
    # Outputs count until their job is deleted.
    job = node.ended(node.send(copier, bytes(14_000_000)))
    problem = refused(upload(node, 20_000_000), 507, "spool-quota")
    assert problem["free_bytes"] == 16_000_000
    assert node.request("DELETE", f"/v2/jobs/{job['id']}").status == 204
    assert upload(node, 20_000_000).status == 201


def test_results_expire(nodes: Any) -> None:
    first = nodes("--auth", "none", "--slots", "1")
    copier = first.configure("test_copy")
    jobs = [first.ended(first.send(copier, b"abc")) for _ in range(3)]
    assert len(first.spool()) == 3
    first.end()
    node = nodes("--auth", "none", "--slots", "1", "--keep-results", "0", state=first.state)
    for job in jobs:
        while node.get(f"/v1.0/process/{job['id']}").status != 404:
            time.sleep(0.05)
    assert node.spool() == []
