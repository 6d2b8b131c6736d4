"""Small inputs that go together: few requests, every result at its place, every error at its turn."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import urllib3

from acceleratorAPI import Accelerator
from acceleratorAPI.client import calls
from acceleratorAPI.client.results import ProcessResult
from acceleratorAPI.client.small import LITTLE_BYTES
from acceleratorAPI.errors import CorruptInputError, FileAccessError, JobCancelledError

COUNT = 200


@pytest.fixture
def gunzipper(conf: Path) -> Iterator[Accelerator]:
    with Accelerator("cast_gunzip", config_file=conf) as accelerator:
        accelerator.start()
        yield accelerator


def requests(accelerator: Accelerator, route: str) -> int:
    """How many requests of that route the node has answered."""
    session: Any = accelerator._session
    headers = session.node._headers
    text = urllib3.request("GET", f"{accelerator.url}/metrics", headers=headers).data.decode()
    pattern = rf'acceleratorapi_http_requests_total{{method="POST",route="{route}",status="[0-9]+"}} ([0-9.]+)'
    return sum(int(float(found)) for found in re.findall(pattern, text))


def packed(folder: Path, count: int = COUNT) -> list[Path]:
    files = [folder / f"{number}.gz" for number in range(count)]
    for number, file in enumerate(files):
        file.write_bytes(gzip.compress(b"%d" % number * number))
    return files


def test_many_small_files_are_few_requests(gunzipper: Accelerator, tmp_path: Path) -> None:
    files, folder = packed(tmp_path), tmp_path / "out"
    folder.mkdir()
    results = list(gunzipper.process_map(files, folder))
    assert [result.source for result in results] == [str(file) for file in files]
    assert [result.bytes_out for result in results] == [len(b"%d" % number * number) for number in range(COUNT)]
    for number, file in enumerate(files):
        assert (folder / file.name).read_bytes() == b"%d" % number * number
    assert len(list(folder.iterdir())) == COUNT
    assert requests(gunzipper, "/v2/batch") + requests(gunzipper, "/v2/run") < COUNT // 4
    # By bytes and into memory as well, and each with its own destination.
    found = [result.data for result in gunzipper.process_map(gzip.compress(b"%d" % number) for number in range(COUNT))]
    assert found == [b"%d" % number for number in range(COUNT)]


def test_each_error_comes_at_its_turn_and_spoils_no_other(gunzipper: Accelerator, tmp_path: Path) -> None:
    files, folder = packed(tmp_path, 12), tmp_path / "out"
    folder.mkdir()
    files[3].write_bytes(b"not gzip")
    files[5].unlink()
    futures = [gunzipper.process_submit(file, folder / file.name) for file in files]
    wrong = gunzipper.process_submit(files[0], folder / "none" / "x")
    outcomes = [future.exception(timeout=60) for future in futures]
    assert isinstance(outcomes[3], CorruptInputError)
    assert isinstance(outcomes[5], FileAccessError)
    assert isinstance(wrong.exception(timeout=60), FileAccessError)
    others = [number for number in range(12) if number not in (3, 5)]
    assert [outcomes[number] for number in others] == [None] * 10
    assert sorted(file.name for file in folder.iterdir()) == sorted(files[number].name for number in others)


def test_large_ones_and_other_parameters_among_them(gzipper: Accelerator, tmp_path: Path) -> None:
    sizes = [10, LITTLE_BYTES, LITTLE_BYTES + 1, 3 << 20, 5, 0]
    futures: list[Future[ProcessResult]] = []
    for level in (1, 6):
        futures += [gzipper.process_submit(b"x" * size, tmp_path / f"{level}-{size}", level=level) for size in sizes]
    for future in futures:
        future.result(timeout=60)
    for level in (1, 6):
        for size in sizes:
            assert gzip.decompress((tmp_path / f"{level}-{size}").read_bytes()) == b"x" * size


def test_a_large_output_of_a_small_input(gunzipper: Accelerator, tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(5_000_000))
    outputs = [tmp_path / f"{number}" for number in range(8)]
    results = list(gunzipper.process_map([bomb, gzip.compress(b"x")] * 4, outputs))
    assert [result.bytes_out for result in results] == [5_000_000, 1] * 4
    assert [output.read_bytes() for output in outputs] == [bytes(5_000_000), b"x"] * 4


def test_a_closed_map_cancels_small_ones(gzipper: Accelerator, tmp_path: Path) -> None:
    results = gzipper.process_map(
        (b"%d" % number for number in range(10_000)), (tmp_path / f"{n}" for n in range(10_000))
    )
    assert next(results).bytes_in == 1
    results.close()  # type: ignore[attr-defined]
    left = len(list(tmp_path.iterdir()))
    assert left < 10_000
    assert gzipper.process(b"x").bytes_in == 1
    # Nothing goes on in the background.
    assert len(list(tmp_path.iterdir())) == left


def test_a_future_that_is_cancelled_in_time_is_not_done(conf: Path, tmp_path: Path) -> None:
    with Accelerator("cast_gzip", config_file=conf) as accelerator:
        accelerator.start()
        futures = [accelerator.process_submit(b"x", tmp_path / f"{number}") for number in range(500)]
        assert futures[-1].cancel()
        accelerator.stop()
    assert sum(future.cancelled() for future in futures) == 1
    assert len(list(tmp_path.iterdir())) == 499


def test_what_the_node_lost_is_an_error_of_all(conf: Path) -> None:
    with Accelerator("cast_gzip", config_file=conf) as accelerator:
        accelerator.start()
        accelerator.process(b"x")
        session: Any = accelerator._session
        session.ended = True
        session.place.provider.terminate(session.place.instance)
        futures = [accelerator.process_submit(b"x") for _ in range(5)]
        assert {type(future.exception(timeout=120)) for future in futures} == {JobCancelledError}
        session.ended = False


def test_what_is_not_done_in_time_is_fetched_one_by_one(
    gunzipper: Accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BATCH_WAIT_S", 0.0)
    files, folder = packed(tmp_path, 40), tmp_path / "out"
    folder.mkdir()
    files[7].write_bytes(b"not gzip")
    futures = [gunzipper.process_submit(file, folder / file.name) for file in files]
    outcomes = [future.exception(timeout=60) for future in futures]
    assert isinstance(outcomes.pop(7), CorruptInputError)
    assert outcomes == [None] * 39
    for number, file in enumerate(files):
        assert (folder / file.name).exists() == (number != 7)
        assert number == 7 or (folder / file.name).read_bytes() == b"%d" % number * number
