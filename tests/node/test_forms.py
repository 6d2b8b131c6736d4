from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest


def raw(node: Any, head: str, *chunks: bytes) -> bytes:
    """Send a request as it stands and read to the end of the connection."""
    with socket.create_connection(node.address, 60) as connection:
        connection.sendall(f"{head}\r\nAuthorization: Bearer {node.token}\r\nConnection: close\r\n\r\n".encode())
        for chunk in chunks:
            connection.sendall(chunk)
        found = bytearray()
        while data := connection.recv(65536):
            found += data
    return bytes(found)


def form(*parts: tuple[str, bytes]) -> bytes:
    body = b"".join(
        f"--bd\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"
        for head, content in parts
    )
    return body + b"--bd--\r\n"


def send(node: Any, body: bytes, path: str = "/v1.0/process/") -> Any:
    return node.request("POST", path, body, {"Content-Type": "multipart/form-data; boundary=bd"})


NASTY = {
    "lf": b"\n" * 3_000_000,
    "cr": b"\r" * 3_000_000,
    "crlf": b"\r\n" * 1_500_000,
    "near boundary": b"\r\n--b\r\n--bc\r\n-" * 200_000,
    "random": os.urandom(5_000_001),
    "one buffer": b"x" * (1 << 20),
    "one buffer and a byte": b"x" * ((1 << 20) + 1),
}


@pytest.mark.parametrize("name", NASTY)
def test_content_arrives_as_it_was_sent(node: Any, copier: Any, name: str) -> None:
    content = NASTY[name]
    body = form(('name="datafile"; filename="x"', content), ('name="configuration"', copier["id"].encode()))
    job = node.ended(send(node, body).json)
    assert job["progress"]["bytes_total"] == len(content)
    found = node.get(job["datafileresult"]).body
    assert hashlib.sha256(found).digest() == hashlib.sha256(content).digest()


def test_chunked_bodies(node: Any, copier: Any) -> None:
    body = form(('name="configuration"', copier["id"].encode()), ('name="datafile"; filename="x"', b"abc" * 1000))
    chunks = [body[i : i + 7] for i in range(0, len(body), 7)]
    answer = node.request("POST", "/v1.0/process/", iter(chunks), {"Content-Type": "multipart/form-data; boundary=bd"})
    assert node.get(node.ended(answer.json)["datafileresult"]).body == b"abc" * 1000


def test_a_datafile_without_a_filename_counts_and_an_empty_one_does_not(node: Any, copier: Any) -> None:
    reference = ('name="configuration"', copier["id"].encode())
    job = node.ended(send(node, form(reference, ('name="datafile"', b"text"))).json)
    assert node.get(job["datafileresult"]).body == b"text"
    for part in ('name="datafile"', 'name="datafile"; filename=""'):
        answer = send(node, form(reference, (part, b"")))
        assert answer.json["detail"] == "test_copy: POST process needs a datafile"
        assert send(node, form((part, b"")), "/v1.0/configuration/").status == 200


def test_the_parameters_may_come_from_a_file(node: Any) -> None:
    part = ('name="parameters"; filename="p.json"', b'{"env": {"accelerator": "test_count"}}')
    assert send(node, form(part), "/v1.0/configuration/").json["accelerator"] == "test_count"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([('name="datafile"; filename="a"', b"1"), ('name="datafile"; filename="b"', b"2")], "more than one datafile"),
        ([('name="image"; filename="a"', b"1")], "the one file a request may send is 'datafile'"),
        ([('name="parameters"', b"\xff")], "field 'parameters' is not UTF-8"),
        ([('name="a"', b"1")] * 101, "more than 100 parts"),
    ],
)
def test_refused_forms(node: Any, parts: list[tuple[str, bytes]], message: str) -> None:
    before = node.spool()
    answer = send(node, form(*parts))
    assert answer.status == 400
    assert message in answer.json["detail"]
    assert answer.json["inerror"] is True
    assert node.spool() == before


def test_long_fields_are_refused(node: Any) -> None:
    answer = send(node, form(('name="parameters"', b" " * (1 << 20) + b"{}")))
    assert answer.status == 413
    answer = node.request("POST", "/v1.0/process/", b" " * (1 << 20) + b"{}", {"Content-Type": "application/json"})
    assert answer.status == 413


def test_a_body_that_ends_early_leaves_nothing(node: Any, copier: Any) -> None:
    before = node.spool()
    body = form(('name="datafile"; filename="x"', b"x" * 3_000_000))
    answer = send(node, body[:-8])
    assert answer.status == 400
    assert "final boundary" in answer.json["detail"]
    assert node.spool() == before


def test_a_client_that_leaves_leaves_nothing(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1", "--accelerator", "test_copy")
    node.configure("test_copy")
    body = form(('name="datafile"; filename="x"', b"x" * 3_000_000))
    with socket.create_connection(node.address, 60) as connection:
        connection.sendall(
            b"POST /v1.0/process/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n"
            b"Content-Type: multipart/form-data; boundary=bd\r\n\r\n" + body[:-100]
        )
        from_now = 0
        while not node.spool() and from_now < 600:
            from_now += 1
            connection.settimeout(0.1)
            with pytest.raises(TimeoutError):
                connection.recv(1)
        assert node.spool()
    deadline = 600
    while node.spool() and deadline:
        deadline -= 1
        node.get("/health/live")
    assert node.spool() == []
    assert node.get("/v1.0/process/").json["count"] == 0


def test_bodies_without_a_file(node: Any) -> None:
    parameters = {"env": {"accelerator": "test_bytes"}}
    for value in (parameters, json.dumps(parameters)):
        answer = node.request(
            "POST", "/v1.0/configuration/", json.dumps({"parameters": value}), {"Content-Type": "application/json"}
        )
        assert answer.json["accelerator"] == "test_bytes"
    done = subprocess.run(
        ["curl", "-sS", "-u", f"x:{node.token}", "--data-urlencode", 'parameters={"app": {"count": 4}}',
         "-d", f"configuration={answer.json['id']}", f"{node.url}/v1.0/process/"],
        check=True, capture_output=True,
    )  # fmt: skip
    assert node.ended(json.loads(done.stdout))["progress"]["bytes_out"] == 4
    assert node.request("POST", "/v1.0/configuration/", b"").json["accelerator"] == "test_copy"


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{", 400),
        ("application/json", b"[]", 400),
        ("application/json", b"\xff", 400),
        ("application/json", b'{"datafile": "x"}', 400),
        ("text/plain", b"x", 415),
        ("application/octet-stream", b"x", 415),
        ("multipart/form-data", b"x", 400),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 101), 400),
    ],
)
def test_refused_bodies(node: Any, content_type: str, body: bytes, status: int) -> None:
    answer = node.request("POST", "/v1.0/process/", body, {"Content-Type": content_type})
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["inerror"] is True


def test_names_of_users_never_become_paths(node: Any, copier: Any, shared_folder: Path) -> None:
    for name in ("../../../etc/passwd", "/etc/passwd", "..", "a\\b", "x" * 4000, "é\u2028", "CON"):
        disposition = f'name="datafile"; filename="{name}"'
        body = form((disposition, b"1"), ('name="configuration"', copier["id"].encode()))
        job = send(node, body)
        assert job.status == 200, name
        assert len(job.json["datafile"]) <= 255
        node.ended(job.json)
    assert all(len(name) == 32 and int(name, 16) >= 0 for name in node.spool())


def test_a_body_larger_than_the_disk_is_refused_at_once(node: Any, copier: Any) -> None:
    found = raw(
        node,
        "POST /v1.0/process/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000000000000000\r\n"
        "Content-Type: multipart/form-data; boundary=bd",
    )
    assert found.startswith(b"HTTP/1.1 507")
    assert b'"disk-full"' in found


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
from acceleratorAPI.node.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_no_space_while_writing(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # A file size limit fails a write in the middle as a full disk does, without needing one.
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(LIMITED)
        script.flush()
        monkeypatch.setattr(nodes, "command", [sys.executable, script.name])
        node = nodes("--auth", "none", "--slots", "1", "--accelerator", "test_copy")
    configuration = node.configure("test_copy")
    answer = node.post("/v1.0/process/", {"configuration": configuration["id"]}, b"x" * 6_000_000)
    assert (answer.status, answer.json["code"]) == (507, "disk-full")
    assert node.spool() == []
    maker = node.configure("test_bytes")
    assert node.ended(node.send(maker, None, count=10))["inerror"] is False
