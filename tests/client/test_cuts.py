"""``process`` through a proxy that cuts, silences and garbles: it goes on by itself, and sends little again."""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crc32c import crc32c
from fault_proxy import Fault, FaultProxy, Kind

from acceleratorAPI import Accelerator, TransferProgress
from acceleratorAPI.client import connection
from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.client.pace import PIECE_BYTES, checksum_field
from acceleratorAPI.errors import InputError, IntegrityError, OffsetError

SIZE = 6 * PIECE_BYTES + 12345
Through = Callable[..., Accelerator]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bytes that gzip cannot make smaller, so that both ways are as long."""
    path = tmp_path_factory.mktemp("source") / "in"
    path.write_bytes(random.Random(8).randbytes(SIZE))
    return path


@pytest.fixture
def proxy(gzipper: Accelerator) -> Iterator[FaultProxy]:
    """Before the node of ``gzipper``."""
    assert gzipper.url is not None
    host, _, port = gzipper.url.removeprefix("http://").partition(":")
    with FaultProxy((host, int(port))) as found:
        yield found


@pytest.fixture
def through(gzipper: Accelerator, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Through:
    """An accelerator that reaches the node of ``gzipper`` through the proxy."""
    assert gzipper.instance is not None
    token = gzipper.instance.token

    def start(connections: int = 1) -> Accelerator:
        monkeypatch.setenv("ACCELERATOR_NODE_TOKEN", token)
        monkeypatch.setenv("ACCELERATOR_GENERAL_CONNECTIONS", str(connections))
        user = Accelerator("cast_gzip", instance_ip=proxy.url)
        user.start()
        return user

    return start


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
@pytest.mark.parametrize("kind", ["rst", "fin", "drop"])
def test_a_cut(
    kind: Kind, up: bool, connections: int, proxy: FaultProxy, through: Through, source: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(connection, "PIECE_IDLE_S", 1.0)
    user = through(connections)
    before = dict(proxy.passed)
    proxy.faults = [Fault(kind, before[up] + at, up) for at in sorted(random.Random(kind).sample(range(SIZE), 2))]
    user.process(source, tmp_path / "out.gz")
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == source.read_bytes()
    assert len(proxy.fired) == 2
    assert files(tmp_path) == ["out.gz"]
    if up:
        # Two cuts, each in one piece; heads and questions are small.
        assert proxy.passed[True] - before[True] <= SIZE + 2 * PIECE_BYTES + (1 << 20)


@pytest.mark.parametrize("connections", [1, 4])
def test_bits_that_flip_on_the_way_up(
    connections: int, proxy: FaultProxy, through: Through, source: Path, tmp_path: Path
) -> None:
    user = through(connections)
    proxy.faults = [Fault("flip", proxy.passed[True] + at) for at in range(1 << 20, SIZE, 2 * PIECE_BYTES)]
    wanted = len(proxy.faults)
    user.process(source, tmp_path / "out.gz")
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == source.read_bytes()
    assert len(proxy.fired) == wanted >= 3


def test_a_bit_that_flips_on_the_way_down(proxy: FaultProxy, through: Through, source: Path, tmp_path: Path) -> None:
    user = through()
    proxy.faults = [Fault("flip", proxy.passed[False] + SIZE // 2, up=False)]
    user.process(source, tmp_path / "out.gz")
    assert proxy.fired
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == source.read_bytes()
    with (tmp_path / "raw").open("wb") as pipe:
        # What is written to a file of the caller's cannot be taken back.
        proxy.faults = [Fault("flip", proxy.passed[False] + SIZE // 2, up=False)]
        with pytest.raises(IntegrityError):
            user.process(source, pipe)


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("size", [0, 1, *(n * PIECE_BYTES + d for n in (1, 2) for d in (-1, 0, 1))])
def test_sizes_at_the_borders_of_pieces(size: int, connections: int, through: Through, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(bytes(size))
    result = through(connections).process(tmp_path / "in", tmp_path / "out.gz")
    assert result.bytes_in == size
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == bytes(size)


def test_a_job_follows_several_connections(
    gzipper: Accelerator, proxy: FaultProxy, through: Through, source: Path, tmp_path: Path
) -> None:
    """It has computed much of its input while the rest is still on its way."""
    assert gzipper.instance is not None
    node = NodeClient(gzipper.instance.url, gzipper.instance.token)
    ahead = []

    def look(progress: TransferProgress) -> None:
        if progress.phase == "upload" and SIZE // 2 < progress.bytes_done < SIZE:
            ahead.append(sum(job.bytes_in for job in node.status().live))

    user = through(4)
    proxy.rate_bytes_s = 10e6
    user.process(source, tmp_path / "out.gz", progress=look)
    assert max(ahead) > SIZE // 4


def test_several_connections_send_each_byte_once(
    proxy: FaultProxy, through: Through, source: Path, tmp_path: Path
) -> None:
    user = through(4)
    before = proxy.passed[True]
    user.process(source, tmp_path / "out.gz")
    assert proxy.passed[True] - before < SIZE + (1 << 20)
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == source.read_bytes()


def test_pieces_ahead_at_the_node(gzipper: Accelerator) -> None:
    assert gzipper.instance is not None
    node = NodeClient(gzipper.instance.url, gzipper.instance.token)
    url = node.create_upload(30, memoryview(b""), None)
    crc = {data: checksum_field(crc32c(data)) for data in (b"a" * 10, b"b" * 10, b"c" * 10)}
    first, second, third = (memoryview(data) for data in crc)
    assert node.put_ahead(url, 20, third, crc[bytes(third)]) == 0
    assert node.put_ahead(url, 20, third, crc[bytes(third)]) == 0
    with pytest.raises(IntegrityError):
        node.put_ahead(url, 10, second, crc[bytes(first)])
    assert node.upload_state(url)[:2] == (0, False)
    with pytest.raises(OffsetError):
        node.add_to_upload(url, 10, second, crc[bytes(second)], None)
    assert node.put_ahead(url, 0, first, crc[bytes(first)]) == 10
    with pytest.raises(InputError, match="beyond the 30 bytes"):
        node.put_ahead(url, 25, third, crc[bytes(third)])
    assert node.put_ahead(url, 10, second, crc[bytes(second)]) == 30
    offset, complete, whole = node.upload_state(url)
    assert (offset, complete) == (30, True)
    assert whole == crc32c(b"a" * 10 + b"b" * 10 + b"c" * 10)
    node.remove_upload(url)
