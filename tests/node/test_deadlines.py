"""Peers that send, or take, too slowly. The limits are shortened; ``scripts/soak`` runs the real ones."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

# The command line has no options for most limits: no operator needs them.
SCRIPT = """
import sys
from dataclasses import replace
from acceleratorAPI.node.__main__ import settings_of
from acceleratorAPI.node.serve import serve
settings = settings_of(sys.argv[1:])
limits = replace(settings.limits, {limits})
sys.exit(serve(replace(settings, limits=limits)))
"""
QUICK = (
    "head_s=1.0, idle_s=1.5, body_idle_s=1.0, body_rate=1000, body_rate_after_s=1.0, unread_s=1.0,"
    " answer_idle_s=1.0, linger_s=0.5, connections=300"
)
HEAD = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
UPLOAD = (
    b"POST /v1.0/process/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
    b"Content-Type: multipart/form-data; boundary=bd\r\n\r\n--bd\r\nContent-Disposition: form-data;"
    b' name="datafile"; filename="x"\r\n\r\nabc'
)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, node_kind: Any) -> Iterator[Any]:
    """A node with short deadlines."""
    found = node_kind(tmp_path_factory.mktemp("quick"))
    found.command = [sys.executable, "-c", SCRIPT.format(limits=QUICK)]
    node = found("--auth", "none", "--slots", "1", "--accelerator", "test_copy")
    node.configure("test_copy")
    yield node
    found.end()


def stalled(node: Any, *parts: bytes, pause_s: float = 0.2) -> tuple[bytes, float]:
    """What comes back to a peer that sends the parts and goes on repeating the last, and when the end came."""
    began, answer = time.monotonic(), b""
    with socket.create_connection(node.address, 60) as connection:
        connection.sendall(b"".join(parts[:-1]))
        connection.settimeout(pause_s)
        while time.monotonic() - began < 60:
            try:
                data = connection.recv(65536)
            except TimeoutError:
                if parts[-1]:
                    connection.sendall(parts[-1])
                continue
            except ConnectionError:
                break
            if not data:
                break
            answer += data
    return answer, time.monotonic() - began


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ((b"",), None),
        ((b"\r\n", b"\r\n"), None),
        ((HEAD, b""), 408),
        ((HEAD, b"X"), 408),
        ((HEAD, b"X-Y: z\r\n"), 408),
        ((b"GET /", b"x"), 408),
        ((UPLOAD, b""), 408),
        ((UPLOAD, b"a"), 408),
        ((HEAD + b"Content-Length: 1000\r\n\r\n", b""), 200),
        ((HEAD + b"Content-Length: 1000\r\n\r\n", b"a"), 200),
        ((HEAD + b"\r\n", b""), 200),
        ((HEAD + b"\r\n", b"\r\n"), 200),
        ((HEAD + b"\r\n" + HEAD, b"X"), 200),
    ],
)
def test_a_stalled_peer_is_closed(quick: Any, parts: tuple[bytes, ...], status: int | None) -> None:
    answer, after_s = stalled(quick, *parts)
    assert after_s < 30
    if status is None:
        assert answer == b""
    else:
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert not quick.spool()


def test_a_slow_body_that_is_quick_enough_arrives(quick: Any) -> None:
    body = UPLOAD.partition(b"\r\n\r\n")[2] + b"x" * 40_000 + b"\r\n--bd--\r\n"
    head = UPLOAD.partition(b"\r\n\r\n")[0].replace(b"100000", str(len(body)).encode())
    with socket.create_connection(quick.address, 60) as connection:
        connection.sendall(head + b"\r\n\r\n")
        for at in range(0, len(body), 2000):
            connection.sendall(body[at : at + 2000])
            time.sleep(0.15)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200")
    job = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert quick.request("DELETE", f"/v1.0/process/{job['id']}/").status == 204


def test_a_peer_that_takes_no_byte_of_its_answer_is_closed(quick: Any) -> None:
    record = quick.ended(quick.send(quick.get("/v1.0/configuration/").json["results"][0], b"x" * (32 << 20)))
    path = record["datafileresult"].partition("/v1.0")[2]
    with socket.create_connection(quick.address, 60) as connection:
        connection.sendall(f"GET /v1.0{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(4)
        received = 0
        try:
            while data := connection.recv(1 << 20):
                received += len(data)
        except ConnectionError:
            pass
    assert received < 32 << 20
    # Slowly taken, it comes whole.
    with socket.create_connection(quick.address, 60) as connection:
        connection.sendall(f"GET /v1.0{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        received = 0
        while data := connection.recv(1 << 20):
            received += len(data)
            time.sleep(0.05)
    assert received > 32 << 20
    assert quick.request("DELETE", f"/v1.0/process/{record['id']}/").status == 204


def test_stalled_peers_do_not_hold_up_others(quick: Any) -> None:
    """T19, smaller: 200 stalled heads and 40 stalled bodies, and then more connections than there may be."""
    ended: list[float] = []

    def hold(sent: bytes) -> None:
        ended.append(stalled(quick, sent, b"")[1])

    with ThreadPoolExecutor(240) as peers:
        for number in range(240):
            peers.submit(hold, UPLOAD if number % 6 == 0 else HEAD)
        while quick_answers(quick) and len(ended) < 240:
            pass
    assert len(ended) == 240
    assert max(ended) < 40
    flood = [socket.create_connection(quick.address, 60) for _ in range(400)]
    try:
        assert quick_answers(quick)
    finally:
        for connection in flood:
            connection.close()
    assert not quick.spool()


def quick_answers(node: Any) -> bool:
    return bool(node.get("/health/live").status == 200)


def test_more_busy_connections_than_there_may_be(nodes: Any) -> None:
    nodes.command = [sys.executable, "-c", SCRIPT.format(limits="connections=16")]
    node = nodes("--auth", "none", "--slots", "1", "--accelerator", "test_slow")
    job = node.send(node.configure("test_slow"), b"x" * 1000, seconds=20)
    ask = f"GET /v1.0/process/{job['id']}/?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    busy = [socket.create_connection(node.address, 60) for _ in range(16)]
    for connection in busy:
        connection.sendall(ask)
    time.sleep(1)
    refused = node.get("/health/live")
    assert refused.status == 503
    assert refused.headers["Retry-After"]
    assert refused.headers["Connection"] == "close"
    for connection in busy:
        connection.close()
    deadline = time.monotonic() + 30
    while node.get("/health/live").status != 200:
        assert time.monotonic() < deadline
