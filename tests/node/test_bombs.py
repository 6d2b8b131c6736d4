"""T22: small inputs that would become large ones are stopped at the node's limit, which the error names."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

CAP = 20_000_000
SLACK = 16 << 20
MEMORY = 256 << 20


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, node_kind: Any) -> Iterator[Any]:
    """A node with a limit on outputs."""
    found = node_kind(tmp_path_factory.mktemp("bombs"))
    yield found("--auth", "none", "--slots", "1", "--max-output", str(CAP))
    found.end()


def zeros(size: int) -> bytes:
    """Zeros as tight as deflate can: 1,029 to 1."""
    packer, block = zlib.compressobj(9, wbits=31), bytes(1 << 20)
    packed = b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()
    assert size / len(packed) > 1000
    return packed


def header(flags: int, more: bytes) -> bytes:
    return b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + more


def named(size: int) -> bytes:
    """A member whose name does not end."""
    return header(8, b"n" * size)


def extra(members: int) -> bytes:
    """Members that are empty but for the largest extra fields there can be."""
    member = header(4, struct.pack("<H", 65535) + bytes(65535)) + b"\x03\0" + bytes(8)
    return member * members


def zipped() -> bytes:
    """Archives in an archive, as 42.zip is made of."""
    inner = zeros(64 << 20)
    for _ in range(3):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(16):
                archive.writestr(f"{number}.zip", inner)
        inner = file.getvalue()
    return inner


def bmp(width: int, height: int) -> bytes:
    return struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0
    )


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    shape = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(16 << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", shape) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def ended(node: Any, function: str, bomb: bytes) -> Any:
    """How the job ended, once it is sure that the node works on and that its worker stayed small."""
    job = node.ended(node.send(node.configure(function), bomb))
    found = node.get(f"/v2/jobs/{job['id']}").json
    assert found["progress"]["bytes_out"] <= CAP + SLACK
    assert all(worker.memory_info().rss < MEMORY for worker in psutil.Process(node.process.pid).children())
    copied = node.ended(node.send(node.configure("test_copy"), b"still here"))
    assert node.get(f"/v1.0/process/{copied['id']}/datafileresult").body == b"still here"
    for done in (job, copied):
        assert node.request("DELETE", f"/v2/jobs/{done['id']}").status == 204
    assert node.spool() == []
    return found


@pytest.mark.parametrize(
    "bomb",
    [
        lambda: zeros(256 << 20),
        lambda: zeros(16 << 20) * 4,
        lambda: gzip.compress(bytes(1000)) * 40_000,
    ],
    ids=["one member", "large members", "endless small members"],
)
def test_what_becomes_too_large_is_stopped_at_the_limit(small: Any, bomb: Callable[[], bytes]) -> None:
    found = ended(small, "cast_gunzip", bomb())
    assert (found["progress"]["state"], found["failure"]["code"]) == ("failed", "output-limit")
    assert str(CAP) in found["failure"]["detail"]
    assert "--max-output" in found["failure"]["detail"]


def test_a_bomb_in_a_bomb_is_opened_once(small: Any) -> None:
    found = ended(small, "cast_gunzip", gzip.compress(zeros(256 << 20)))
    assert found["progress"]["state"] == "succeeded"
    assert found["progress"]["bytes_out"] < 2 << 20


@pytest.mark.parametrize(
    ("bomb", "state"),
    [
        (lambda: gzip.compress(b"") * 50_000, "succeeded"),
        (lambda: extra(300), "succeeded"),
        (lambda: named(50 << 20), "failed"),
        (zipped, "failed"),
    ],
    ids=["endless empty members", "FEXTRA", "FNAME", "nested zip"],
)
def test_what_is_long_but_becomes_nothing_stays_small(small: Any, bomb: Callable[[], bytes], state: str) -> None:
    found = ended(small, "cast_gunzip", bomb())
    assert found["progress"]["state"] == state
    assert found["progress"]["bytes_out"] == 0
    if state == "failed":
        assert found["failure"]["code"] == "corrupt-input"


@pytest.mark.parametrize("bomb", [bmp(65_500, 65_500), png(65_500, 65_500)], ids=["BMP", "PNG"])
def test_an_image_of_too_many_pixels_is_refused_by_its_header(small: Any, bomb: bytes) -> None:
    found = ended(small, "alse_jpegenc", bomb)
    assert found["progress"]["state"] == "failed"
    assert "more pixels than max_pixels = " in found["failure"]["detail"]
