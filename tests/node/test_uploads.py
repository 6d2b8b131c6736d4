"""``/v2/files``: tus by a client nobody here wrote, the IETF draft by raw HTTP, cuts, checksums, restarts."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import random
import socket
import time
from typing import Any

import pytest
from crc32c import crc32c
from tusclient.client import TusClient

TUS = {"Tus-Resumable": "1.0.0"}
TUS_BODY = {**TUS, "Content-Type": "application/offset+octet-stream"}


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def created(node: Any, length: int | None, **headers: str) -> str:
    length_header = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
    answer = node.request("POST", "/v2/files/", b"", {**TUS, **length_header, **headers})
    assert answer.status == 201, answer.body
    return str(answer.headers["Location"]).removeprefix(node.url)


def patched(node: Any, path: str, offset: int, data: bytes, **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return node.request("PATCH", path, data, {**TUS_BODY, "Upload-Offset": str(offset), **sent})


def offset_of(node: Any, path: str) -> int:
    answer = node.request("HEAD", path, headers=TUS)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    return int(answer.headers["Upload-Offset"])


@pytest.mark.parametrize("checksums", [False, True])
def test_tuspy_uploads_and_resumes(node: Any, copier: Any, checksums: bool) -> None:
    data = content(300_001)
    # Open files of ours: a path would be opened, and left open, by tuspy.
    source = io.BytesIO(data)
    client = TusClient(f"{node.url}/v2/files/", headers={"Authorization": f"Bearer {node.token}"})
    first = client.uploader(
        file_stream=source, chunk_size=70_000, upload_checksum=checksums, metadata={"name": "in.dat"}
    )
    first.upload_chunk()
    second = client.uploader(file_stream=source, url=first.url, chunk_size=70_000, upload_checksum=checksums)
    assert second.offset == 70_000
    second.upload()
    path = second.url.removeprefix(node.url)
    assert node.get(path).body == data
    job = node.request(
        "POST",
        "/v2/jobs?wait=30",
        json.dumps({"upload": second.url, "configuration": copier["url"]}),
        {"Content-Type": "application/json"},
    )
    assert node.get(job.json["result"]["url"]).body == data
    assert node.get(path).status == 404, "the job took its input over"


def test_options_say_what_there_is(node: Any) -> None:
    answer = node.request("OPTIONS", "/v2/files/")
    assert answer.headers["Tus-Version"] == "1.0.0"
    for extension in ("creation", "creation-with-upload", "checksum", "termination", "expiration", "concatenation"):
        assert extension in answer.headers["Tus-Extension"].split(",")
    assert "sha1" in answer.headers["Tus-Checksum-Algorithm"].split(",")
    assert node.request("HEAD", "/v2/files/" + "0" * 32, headers={"Tus-Resumable": "0.2.2"}).status == 412


def test_the_ietf_way(node: Any) -> None:
    data = content(10_000)
    answer = node.request("POST", "/v2/files/", data[:3000], {"Upload-Complete": "?0", "Upload-Length": "10000"})
    assert (answer.status, answer.headers["Upload-Offset"], answer.headers["Upload-Complete"]) == (201, "3000", "?0")
    path = answer.headers["Location"].removeprefix(node.url)
    part = {"Content-Type": "application/partial-upload", "Upload-Complete": "?1"}
    wrong = node.request("PATCH", path, data[2000:], {**part, "Upload-Offset": "2000"})
    assert (wrong.status, wrong.json["expected-offset"], wrong.json["provided-offset"]) == (409, 3000, 2000)
    assert wrong.json["type"].endswith("#mismatching-upload-offset")
    done = node.request("PATCH", path, data[3000:], {**part, "Upload-Offset": "3000"})
    assert (done.status, done.headers["Upload-Complete"]) == (204, "?1")
    head = node.request("HEAD", path, headers={"Want-Repr-Digest": "sha-256=1"})
    sha256 = base64.b64encode(hashlib.sha256(data).digest()).decode()
    crc = base64.b64encode(crc32c(data).to_bytes(4, "big")).decode()
    assert head.headers["Repr-Digest"] == f"crc32c=:{crc}:, sha-256=:{sha256}:"
    assert node.get(path, Range="bytes=5-9").body == data[5:10]


def test_all_in_one_request(node: Any) -> None:
    answer = node.request("POST", "/v2/files/", b"all of it")
    assert (answer.status, answer.headers["Upload-Complete"], answer.headers["Upload-Offset"]) == (201, "?1", "9")
    assert node.request("POST", "/v2/files/", b"").headers["Upload-Complete"] == "?1"


@pytest.mark.parametrize("algorithm", ["crc32c", "sha1", "sha256", "sha512"])
def test_a_wrong_checksum_does_not_count(node: Any, algorithm: str) -> None:
    data = content(200_000)
    digest = crc32c(data).to_bytes(4, "big") if algorithm == "crc32c" else hashlib.new(algorithm, data).digest()
    checksum = f"{algorithm} {base64.b64encode(digest).decode()}"
    path = created(node, len(data))
    flipped = bytearray(data)
    flipped[100_000] ^= 1
    answer = patched(node, path, 0, bytes(flipped), Upload_Checksum=checksum)
    assert (answer.status, answer.json["code"]) == (460, "integrity")
    assert offset_of(node, path) == 0
    assert patched(node, path, 0, data, Upload_Checksum=checksum).status == 204
    assert node.get(path).body == data


def test_content_digest_is_a_checksum_too(node: Any) -> None:
    digest = base64.b64encode(hashlib.sha256(b"right").digest()).decode()
    headers = {"Content-Digest": f"sha-256=:{digest}:"}
    assert node.request("POST", "/v2/files/", b"wrong", headers).status == 460
    assert node.request("POST", "/v2/files/", b"right", headers).status == 201


def test_a_length_that_comes_later(node: Any) -> None:
    path = created(node, None)
    assert patched(node, path, 0, b"abc").status == 204
    assert node.request("HEAD", path, headers=TUS).headers["Upload-Defer-Length"] == "1"
    assert patched(node, path, 3, b"de", Upload_Length="2").status == 400
    assert patched(node, path, 3, b"de", Upload_Length="5").status == 204
    assert node.get(path).body == b"abcde"


def test_parts_become_one(node: Any) -> None:
    parts = [content(100_000, 1), b"", content(1, 2), content(70_000, 3)]
    paths = [created(node, len(part), **{"Upload-Concat": "partial"}) for part in parts]
    for path, part in zip(paths, parts, strict=True):
        if part:
            assert patched(node, path, 0, part).status == 204
    final = "final;" + " ".join([node.url + paths[0], *paths[1:]])
    answer = node.request("POST", "/v2/files/", b"", {**TUS, "Upload-Concat": final})
    assert answer.status == 201, answer.body
    assert node.get(answer.headers["Location"].removeprefix(node.url)).body == b"".join(parts)
    assert [node.get(path).status for path in paths] == [404] * len(paths)
    for concat in ("final;", "final;/etc/passwd", "final;../../etc/passwd", f"final;{'0' * 32}", "both"):
        assert node.request("POST", "/v2/files/", b"", {**TUS, "Upload-Concat": concat}).status in (400, 404)


@pytest.mark.parametrize(
    ("method", "headers", "body", "status"),
    [
        ("POST", TUS, b"", 400),
        ("POST", {**TUS, "Upload-Length": "-1"}, b"", 400),
        ("POST", {**TUS, "Upload-Length": "1e3"}, b"", 400),
        ("POST", {**TUS, "Upload-Length": str(2**63)}, b"", 400),
        ("POST", {**TUS, "Upload-Length": str(2**62)}, b"", 507),
        ("POST", {"Upload-Complete": "yes"}, b"", 400),
        ("POST", {"Upload-Length": "3", "Upload-Complete": "?1"}, b"four", 400),
        ("POST", {"Upload-Checksum": "md4 AAAA"}, b"x", 400),
        ("POST", {"Upload-Checksum": "sha1 ?"}, b"x", 400),
        ("PATCH", {**TUS_BODY}, b"x", 400),
        ("PATCH", {**TUS, "Upload-Offset": "0"}, b"x", 415),
        ("PATCH", {**TUS_BODY, "Upload-Offset": "0"}, b"elevenbytes", 400),
        ("PATCH", {**TUS_BODY, "Upload-Offset": "5"}, b"x", 409),
    ],
)
def test_refused(node: Any, method: str, headers: dict[str, str], body: bytes, status: int) -> None:
    path = "/v2/files/" if method == "POST" else created(node, 10)
    answer = node.request(method, path, body, headers)
    assert answer.status == status, answer.body
    assert answer.json["inerror"] is True
    if method == "PATCH":
        assert offset_of(node, path) == 0


def test_removed(node: Any) -> None:
    path = created(node, 10)
    assert node.request("DELETE", path, headers=TUS).status == 204
    assert node.request("HEAD", path, headers=TUS).status == 404
    assert patched(node, path, 0, b"x").status == 404


def test_a_silent_drop_ends_when_the_client_comes_back(node: Any) -> None:
    """The old connection stays open and says nothing more; the new one is not kept waiting by it."""
    data = content(3_000_000)
    path = created(node, len(data))
    head = f"PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {node.token}\r\nContent-Length: {len(data)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in {**TUS_BODY, "Upload-Offset": "0"}.items())
    with socket.create_connection(node.address, 60) as old:
        old.sendall(head.encode() + b"\r\n" + data[:2_000_000])
        time.sleep(0.3)
        at = offset_of(node, path)
        assert at == 2_000_000
        assert patched(node, path, at, data[at:]).status == 204
        answer = old.recv(4096)
        assert b" 409 " in answer.split(b"\r\n")[0]
    assert node.get(path).body == data


def test_cut_at_random_places(node: Any) -> None:
    data = content(2_000_000)
    path = created(node, len(data))
    chooser = random.Random(5)
    while (at := offset_of(node, path)) < len(data):
        connection = http.client.HTTPConnection(*node.address, timeout=60)
        connection.putrequest("PATCH", path)
        for name, value in {**TUS_BODY, "Upload-Offset": str(at), "Authorization": f"Bearer {node.token}"}.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(data) - at))
        connection.endheaders()
        connection.send(data[at : at + chooser.randrange(1, 400_000)])
        if chooser.random() < 0.5:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not an end
        connection.close()
    assert node.get(path).body == data


def test_kept_across_kill_and_restart(nodes: Any) -> None:
    first = nodes("--auth", "none")
    data = content(500_000)
    path = created(first, len(data))
    assert patched(first, path, 0, data[:200_000]).status == 204
    first.process.kill()
    first.process.wait()
    # Bytes behind the offset that counts: a piece that was on its way.
    with (first.state / "spool" / path.rpartition("/")[2]).open("r+b") as file:
        file.seek(200_000)
        file.write(b"half a piece")
    node = nodes("--auth", "none", state=first.state)
    assert offset_of(node, path) == 200_000
    assert patched(node, path, 200_000, data[200_000:]).status == 204
    assert node.get(path).body == data


def test_bytes_lost_by_a_power_failure_are_noticed(nodes: Any) -> None:
    import sqlite3

    first = nodes("--auth", "none")
    data = content(500_000)
    paths = [created(first, len(data)) for _ in range(2)]
    for path in paths:
        assert patched(first, path, 0, data[:200_000]).status == 204
    assert first.end() == 0
    with sqlite3.connect(first.state / "node.db") as database:
        database.execute("UPDATE uploads SET boot = 'an earlier one'")
    with (first.state / "spool" / paths[0].rpartition("/")[2]).open("r+b") as file:
        file.write(bytes(4096))
    node = nodes("--auth", "none", state=first.state)
    assert [offset_of(node, path) for path in paths] == [0, 200_000]


def test_expires(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    node = nodes("--auth", "none", "--upload-lifetime", "0.5")
    path = created(node, 10)
    patched(node, path, 0, b"x")
    assert "GMT" in node.request("HEAD", path, headers=TUS).headers["Upload-Expires"]
    assert node.end() == 0
    # Every minute in a living node; at once at a start.
    node = nodes("--auth", "none", state=node.state)
    assert node.request("HEAD", path, headers=TUS).status == 404
    assert node.spool() == []


def test_the_clients_file_object_is_never_needed_whole(node: Any) -> None:
    """A deferred length from a stream: what our own client does with a pipe."""
    path = created(node, None)
    stream, at = io.BytesIO(content(250_000)), 0
    while piece := stream.read(100_000):
        last = {"Upload_Length": str(at + len(piece))} if len(piece) < 100_000 else {}
        assert patched(node, path, at, piece, **last).status == 204
        at += len(piece)
    assert node.get(path).body == stream.getvalue()
