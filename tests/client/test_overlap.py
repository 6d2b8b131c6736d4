"""Upload and fetch against a node that cuts, forgets and garbles: they go on, or say what is wrong."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crc32c import crc32c

from acceleratorAPI import Accelerator
from acceleratorAPI.client.fetch import Fetch, Sink
from acceleratorAPI.client.node import UploadState
from acceleratorAPI.client.pace import PIECE_BYTES
from acceleratorAPI.client.upload import Upload
from acceleratorAPI.errors import (
    AcceleratorError,
    FunctionFailedError,
    InputError,
    IntegrityError,
    JobError,
    NodeBusyError,
    NodeError,
    NodeUnreachableError,
    NotFoundError,
)
from acceleratorAPI.protocol.records import JobRecord, Progress, ResultFile

DATA = bytes(range(256)) * (3 * PIECE_BYTES // 256) + b"the end"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


class FakeNode:
    """Keeps an upload and an output; raises what it is told to, call by call."""

    def __init__(self, *troubles: AcceleratorError | None, output: bytes = b"", garbled: bool = False) -> None:
        self.troubles = list(troubles)
        self.stored = bytearray()
        self.length: int | None = None
        self.output = output
        self.garbled = garbled
        self.failure: JobError | None = None

    def _trouble(self) -> None:
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None:
            raise trouble

    def create_upload(self, size: int | None, piece: memoryview, checksum: str | None) -> str:
        self._trouble()
        self.stored += piece
        self.length = size
        return "/v2/files/1"

    def add_to_upload(self, url: str, offset: int, piece: memoryview, checksum: str, length: int | None) -> None:
        trouble = self.troubles[0] if self.troubles else None
        if isinstance(trouble, NodeUnreachableError) and "after" in str(trouble):
            self.stored += piece
        if isinstance(trouble, NodeUnreachableError) and "power" in str(trouble):
            self.stored.clear()
        self._trouble()
        assert offset == len(self.stored)
        self.stored += piece
        self.length = length if length is not None else self.length

    def upload_state(self, url: str) -> UploadState:
        return UploadState(len(self.stored), len(self.stored) == self.length, crc32c(self.stored))

    def has_ended(self) -> bool:
        return False

    @contextlib.contextmanager
    def result(self, job_id: str, offset: int) -> Iterator[Any]:
        stream = io.BytesIO(self.output[offset:])

        class Answer:
            @staticmethod
            def read(size: int, decode_content: bool) -> bytes:
                if stream.tell() >= 1000:
                    self._trouble()
                return stream.read(min(size, 1000))

        yield Answer()

    def job(self, job_id: str, wait_s: float) -> JobRecord:
        if self.failure is not None:
            raise self.failure
        crc = crc32c(self.output) ^ self.garbled
        result = ResultFile(url="", size_bytes=len(self.output), crc32c=f"{crc:08x}")
        state = Progress(state="succeeded")
        return JobRecord(id=job_id, url="", configuration="", accelerator="", created="", ended="now", attempts=1,
                         input_name=None, progress=state, app=None, result=result, failure=None)  # fmt: skip


def upload(node: FakeNode, reader: Any, size: int | None) -> list[int]:
    told: list[int] = []
    sent = Upload(node, reader, size, told.append)  # type: ignore[arg-type]  # all of a node that is used
    sent.begin()
    sent.finish()
    return told


@pytest.mark.parametrize("size", [None, len(DATA)])
@pytest.mark.parametrize(
    "trouble",
    [
        NodeUnreachableError("cut before it arrived"),
        NodeUnreachableError("cut after it arrived"),
        NodeUnreachableError("power failure: all is lost"),
        NodeBusyError("restarting"),
        IntegrityError("a bit flipped"),
    ],
    ids=str,
)
def test_an_upload_goes_on_where_it_stands(trouble: AcceleratorError, size: int | None) -> None:
    node = FakeNode(None, None, trouble, trouble, None, trouble)
    told = upload(node, io.BytesIO(DATA), size)
    assert bytes(node.stored) == DATA
    assert node.length == len(DATA)
    assert told[-1] == len(DATA)


def test_what_cannot_be_read_again_cannot_begin_again() -> None:
    class Pipe:
        def __init__(self) -> None:
            self._data = io.BytesIO(DATA)

        def read(self, size: int, /) -> bytes:
            return self._data.read(min(size, 100_000))

    node = FakeNode(None, None, NodeUnreachableError("cut after it arrived"))
    upload(node, Pipe(), None)
    assert bytes(node.stored) == DATA
    with pytest.raises(InputError, match="cannot be read again"):
        upload(FakeNode(None, None, NodeUnreachableError("power failure")), Pipe(), None)


def test_an_upload_gives_up_in_the_end() -> None:
    with pytest.raises(NodeUnreachableError, match="gone for good"):
        upload(FakeNode(None, *[NodeUnreachableError("gone for good")] * 1000), io.BytesIO(DATA), len(DATA))


def test_a_small_input_travels_with_its_creation() -> None:
    node = FakeNode(NodeUnreachableError("cut"))
    assert upload(node, io.BytesIO(b"small"), 5) == [5]
    assert bytes(node.stored) == b"small"


def fetched(node: FakeNode) -> bytes:
    target = io.BytesIO()
    Fetch(node, "1", Sink(target), lambda _: None).run()  # type: ignore[arg-type]  # all of a node that is used
    return target.getvalue()


def test_a_fetch_goes_on_where_it_stands() -> None:
    cut = NodeUnreachableError("cut")
    assert fetched(FakeNode(None, cut, None, cut, cut, output=DATA[:50_000])) == DATA[:50_000]


def test_bytes_that_changed_are_an_error() -> None:
    with pytest.raises(IntegrityError, match="changed on their way"):
        fetched(FakeNode(output=b"what was made", garbled=True))


def test_a_stream_that_ends_early_is_an_error() -> None:
    node = FakeNode(output=b"x" * 500)
    record = node.job("1", 0)
    assert record.result is not None
    longer = record.model_copy(update={"result": record.result.model_copy(update={"size_bytes": 501})})
    node.job = lambda *_: longer  # type: ignore[method-assign]
    with pytest.raises(NodeError, match="500 bytes of a result of 501"):
        fetched(node)


def test_the_jobs_own_error_is_what_is_raised() -> None:
    node = FakeNode(NodeUnreachableError("cut"), output=DATA[:5000])
    node.failure = FunctionFailedError("the kernel said no")
    with pytest.raises(FunctionFailedError, match="the kernel said no"):
        fetched(node)


def test_a_bit_flipped_on_the_nodes_disk_leaves_no_output(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "in", tmp_path / "out.gz"
    source.write_bytes(DATA)
    spool = home / "state" / "acceleratorapi" / "instances"
    original = Fetch.run

    def flip_first(self: Fetch) -> JobRecord:
        while not self._node.job(self._job_id, 30).ended:
            pass
        (output,) = [path for path in spool.glob("*/spool/*") if path.stat().st_size]
        with output.open("r+b") as file:
            file.seek(20)
            byte = file.read(1)
            file.seek(20)
            file.write(bytes([byte[0] ^ 1]))
        return original(self)

    monkeypatch.setattr(Fetch, "run", flip_first)
    with Accelerator("cast_gzip", shared_files=False) as accelerator:
        accelerator.start()
        with pytest.raises(IntegrityError):
            accelerator.process(source, target)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["in"]


def test_a_fetch_says_why_a_job_that_has_ended_has_no_output() -> None:
    class Failed(FakeNode):
        def result(self, job_id: str, offset: int) -> Any:
            raise NotFoundError(f"job {job_id} has no result file")

    node = Failed()
    node.failure = FunctionFailedError("it went wrong")
    with pytest.raises(FunctionFailedError, match="it went wrong"):
        fetched(node)
    node.failure = None
    with pytest.raises(NotFoundError, match="no result file"):
        fetched(node)
