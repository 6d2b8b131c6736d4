"""T14: a disk of 64 MiB is full, before an upload, in the middle of one, and in the middle of a job."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import TUS, begin, create, ended

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root; test_no_space_while_writing limits the size of files instead")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def used_bytes(folder: Path) -> int:
    disk = os.statvfs(folder)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize


def test_a_full_disk(nodes: Any, small_disk: Path) -> None:
    node = nodes("--auth", "none", "--slots", "1", state=small_disk / "state")
    configuration = node.configure("test_copy")["url"]
    before = used_bytes(small_disk)

    def works() -> None:
        path = create(node, MIB, b"x" * MIB)
        record = ended(node, begin(node, configuration=configuration, upload=path).json["id"])
        assert record["progress"]["state"] == "succeeded", record
        assert node.get(f"/v2/jobs/{record['id']}/result").body == b"x" * MIB
        assert node.request("DELETE", f"/v2/jobs/{record['id']}").status == 204
        assert node.spool() == []
        # The database grows a little.
        assert used_bytes(small_disk) - before < 4 * MIB

    works()
    # What was announced does not fit: nothing of it needs to travel.
    refused = node.request("POST", "/v2/files/", b"", {**TUS, "Upload-Length": str(100 * MIB)})
    assert (refused.status, refused.json["code"]) == (507, "disk-full")
    head = f"POST /v1.0/process/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {100 * MIB}\r\n"
    with socket.create_connection(node.address, 60) as connection:
        connection.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n")
        assert connection.recv(12) == b"HTTP/1.1 507"
    works()
    # What was not announced fills the disk on its way.
    path = node.request("POST", "/v2/files/", b"", {**TUS, "Upload-Defer-Length": "1"}).headers["Location"]
    full = node.request("PATCH", path, b"x" * (100 * MIB), {**TUS, "Upload-Offset": "0"})
    assert (full.status, full.json["code"]) == (507, "disk-full")
    assert node.request("DELETE", path).status == 204
    works()
    # The input fits, the output does not.
    path = create(node, 40 * MIB, b"x" * (40 * MIB))
    record = ended(node, begin(node, configuration=configuration, upload=path).json["id"])
    assert record["failure"]["code"] == "disk-full", record
    assert node.spool() == []
    works()
    # Somebody else fills it to the last byte.
    with open(small_disk / "other", "wb") as other:
        try:
            while other.write(b"x" * MIB):
                other.flush()
        except OSError:
            pass
    assert node.request("POST", "/v2/files/", b"x", {**TUS, "Upload-Length": "1"}).status == 507
    assert node.get("/v2/jobs").status == 200
    (small_disk / "other").unlink()
    works()
    assert node.end() == 0
