"""Bodies that pass the parser by: what comes before, behind and instead of them, plain and through TLS."""

from __future__ import annotations

import base64
import json
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crc32c import crc32c

from acceleratorAPI.providers.certificates import make_certificate

DATA = random.Random(4).randbytes((3 << 20) + 7)
Connect = Callable[[], socket.socket]


@pytest.fixture(scope="module", params=["plain", "tls"])
def peer(request: Any, tmp_path_factory: pytest.TempPathFactory, node_kind: Any) -> Iterator[tuple[Any, Connect]]:
    """A node that asks for no token, and how to connect to it."""
    folder = tmp_path_factory.mktemp(request.param)
    nodes, options = node_kind(folder), ["--auth", "none", "--slots", "1", "--accelerator", "test_copy"]
    context = None
    if request.param == "tls":
        make_certificate().write(folder)
        options += ["--tls-cert", str(folder / "tls-cert.pem"), "--tls-key", str(folder / "tls-key.pem")]
        context = ssl.create_default_context(cafile=str(folder / "tls-cert.pem"))
    node = nodes(*options)

    def connect() -> socket.socket:
        plain = socket.create_connection(node.address, 60)
        return context.wrap_socket(plain, server_hostname="127.0.0.1") if context else plain

    yield node, connect
    nodes.end()


def post(size: int, *fields: str) -> bytes:
    lines = ["POST /v2/files HTTP/1.1", "Host: localhost", f"Content-Length: {size}", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The next answer on a connection that goes on."""
    text = b""
    while b"\r\n\r\n" not in text:
        data = connection.recv(1)
        assert data, text
        text += data
    status, *lines = text.decode().strip().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    body = b""
    while len(body) < int(fields.get("content-length", 0)):
        body += connection.recv(65536)
    return int(status.split()[1]), fields, body


def kept(connection: socket.socket, location: str) -> bytes:
    connection.sendall(f"GET {location[location.index('/v2') :]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    status, _, body = answer(connection)
    assert status == 200, body
    return body


@pytest.mark.parametrize("cut", [0, 1, 70_000, (512 << 10) - 1, 512 << 10, (512 << 10) + 1, len(DATA) - 1])
def test_sent_in_two_parts(peer: Any, cut: int) -> None:
    with peer[1]() as connection:
        connection.sendall(post(len(DATA)) + DATA[:cut])
        time.sleep(0.05)
        connection.sendall(DATA[cut:])
        status, fields, _ = answer(connection)
        assert status == 201
        assert kept(connection, fields["location"]) == DATA


def test_requests_behind_a_body_are_read_as_requests(peer: Any) -> None:
    live = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with peer[1]() as connection:
        sending = threading.Thread(target=connection.sendall, args=((post(len(DATA)) + DATA) * 2 + live,))
        sending.start()
        places = []
        for _ in range(2):
            status, fields, _ = answer(connection)
            assert status == 201
            places.append(fields["location"])
        sending.join()
        status, _, body = answer(connection)
        assert (status, json.loads(body)["status"]) == (200, "ok")
        assert [kept(connection, place) for place in places] == [DATA, DATA]


def test_nothing_is_run_behind_the_last_request(peer: Any) -> None:
    with peer[1]() as connection:
        connection.sendall(post(len(DATA), "Connection: close") + DATA + post(3) + b"abc")
        assert answer(connection)[0] == 201
        assert connection.recv(1) == b""


def test_what_follows_a_body_is_no_part_of_it(peer: Any) -> None:
    with peer[1]() as connection:
        connection.sendall(post(len(DATA)) + DATA + b"no request at all\r\n\r\n")
        status, fields, _ = answer(connection)
        assert status == 201
        assert int(fields["upload-offset"]) == len(DATA)
        # Refused, or not even answered when the good request was still being answered.
        rest = b""
        while data := connection.recv(65536):
            rest += data
        assert not rest or rest.startswith(b"HTTP/1.1 400 ")


def test_a_refused_body_is_passed_over(peer: Any) -> None:
    """Longer than announced: the answer comes at once, and the connection goes on behind the body."""
    with peer[1]() as connection:
        connection.sendall(post(len(DATA), "Tus-Resumable: 1.0.0", "Upload-Length: 1000000") + DATA)
        assert answer(connection)[0] == 400
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer(connection)[0] == 200


def test_a_slow_body_is_taken_as_it_comes(peer: Any) -> None:
    size = 1 << 20
    with peer[1]() as connection, peer[1]() as other:
        connection.sendall(post(0, "Tus-Resumable: 1.0.0", f"Upload-Length: {size}"))
        place = answer(connection)[1]["location"]
        path = place[place.index("/v2") :]
        fields = "Tus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\nUpload-Offset: 0"
        head = f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\nContent-Length: {size}\r\n\r\n"
        connection.sendall(head.encode())
        for at in range(0, size, size // 4):
            time.sleep(0.05)
            connection.sendall(DATA[at : at + size // 4])
        assert answer(connection)[0] == 204
        assert kept(other, place) == DATA[:size]


def test_a_cut_keeps_what_came(peer: Any) -> None:
    size = 2 << 20
    with peer[1]() as connection:
        connection.sendall(post(0, "Tus-Resumable: 1.0.0", f"Upload-Length: {size}"))
        place = answer(connection)[1]["location"]
        path = place[place.index("/v2") :]
    kind = "Tus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream"
    head = f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\nUpload-Offset: 0\r\nContent-Length: {size}\r\n\r\n"
    with peer[1]() as connection:
        connection.sendall(head.encode() + DATA[: size - 100_000])
        time.sleep(0.2)
    with peer[1]() as connection:
        ask = f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n\r\n"
        connection.sendall(ask.encode())
        text = connection.recv(65536).decode().lower()
        assert f"upload-offset: {size - 100_000}\r\n" in text


def test_many_at_once(peer: Any) -> None:
    """More than there are threads, some of them slow: each gets its own bytes."""
    found: dict[int, str] = {}

    def send(number: int) -> None:
        data = DATA[number:]
        checksum = "crc32c " + base64.b64encode(crc32c(data).to_bytes(4, "big")).decode()
        fields = ("Tus-Resumable: 1.0.0", f"Upload-Length: {len(data)}", f"Upload-Checksum: {checksum}")
        with peer[1]() as connection:
            connection.sendall(post(len(data), *fields))
            for at in range(0, len(data), 300_000):
                connection.sendall(data[at : at + 300_000])
                time.sleep(0.002 * (number % 3))
            found[number] = str(answer(connection)[0])

    senders = [threading.Thread(target=send, args=(number,)) for number in range(40)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert found == dict.fromkeys(range(40), "201")


def test_a_download_slower_than_its_reading(peer: Any, tmp_path: Path) -> None:
    """The two buffers are not filled again before the client has what was in them."""
    data = DATA * 3
    with peer[1]() as connection:
        connection.sendall(post(len(data)) + data)
        place = answer(connection)[1]["location"]
        path = place[place.index("/v2") :]
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        got = bytearray()
        while part := connection.recv(1 << 16):
            got += part
            if len(got) % 5 == 0:
                time.sleep(0.001)
    assert got[got.index(b"\r\n\r\n") + 4 :] == data


def test_tricklers_hold_no_threads(peer: Any) -> None:
    """More slow senders than there are threads to write with, and a quick one beside them."""
    ended = threading.Event()

    def trickle() -> None:
        with peer[1]() as connection:
            connection.sendall(post(1 << 20))
            while not ended.is_set():
                connection.sendall(b"x")
                time.sleep(0.001)

    slow = [threading.Thread(target=trickle) for _ in range(24)]
    for sender in slow:
        sender.start()
    try:
        with peer[1]() as connection:
            connection.sendall(post(len(DATA)) + DATA)
            assert answer(connection)[0] == 201
    finally:
        ended.set()
        for sender in slow:
            sender.join()
