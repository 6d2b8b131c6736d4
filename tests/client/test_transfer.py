"""Bodies: a form read while it is sent, a result written while it arrives."""

from __future__ import annotations

import email
import email.policy
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from acceleratorAPI.client.transfer import CHUNK_BYTES, Input, MultipartForm, write_all
from acceleratorAPI.errors import FileAccessError, InputError


def parsed(form: MultipartForm, chunk: int) -> dict[str, tuple[str | None, bytes]]:
    """The parts of a form as the standard library reads them: file name and content by field."""
    body = bytearray()
    while part := form.read(chunk):
        assert len(part) <= chunk
        body += part
    assert form.size_bytes in (None, len(body))
    head = f"Content-Type: {form.content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + bytes(body), policy=email.policy.HTTP)
    parts = {}
    for part in message.iter_parts():  # type: ignore[attr-defined]
        name = part.get_param("name", header="content-disposition")
        parts[name] = (part.get_filename(), part.get_payload(decode=True))
    return parts


@pytest.mark.parametrize("chunk", [1, 7, 1000, CHUNK_BYTES])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("content", [b"", b"x", b"line\r\n--boundary\r\n" * 40])
def test_a_form_is_what_it_was_made_of(content: bytes, known: bool, chunk: int) -> None:
    told: list[tuple[int, int | None]] = []
    size = len(content) if known else None
    form = MultipartForm(
        {"parameters": '{"a": "é"}', "configuration": "http://x/"},
        ("/some/corpus.csv", io.BytesIO(content), size),
        lambda done, total: told.append((done, total)),
    )
    assert ("Content-Length" in form.headers) == known
    parts = parsed(form, chunk)
    assert parts["parameters"] == (None, '{"a": "é"}'.encode())
    assert parts["datafile"] == ("corpus.csv", content)
    if content:
        assert told[-1] == (len(content), size)


def test_a_form_without_a_file() -> None:
    form = MultipartForm({"source": "/a", "target": "/b"})
    assert parsed(form, 10) == {"source": (None, b"/a"), "target": (None, b"/b")}


@pytest.mark.parametrize("name", ['we"ird\r\nname', "back\\slash", "…", "a\udcffb"])
def test_no_file_name_breaks_the_form(name: str) -> None:
    parts = parsed(MultipartForm({"x": "1"}, (name, io.BytesIO(b"data"), 4)), 100)
    assert parts["x"] == (None, b"1")
    assert parts["datafile"][1] == b"data"


def test_a_file_that_shrinks_is_an_error_and_one_that_grows_is_cut() -> None:
    form = MultipartForm({}, ("f", io.BytesIO(b"abc"), 5))
    with pytest.raises(InputError, match="shrank while it was read: 3 of 5 bytes"):
        parsed(form, 100)
    assert parsed(MultipartForm({}, ("f", io.BytesIO(b"abcdef"), 3)), 100)["datafile"][1] == b"abc"


def test_text_and_unreadable_files_are_named() -> None:
    with pytest.raises(InputError, match="binary mode"):
        parsed(MultipartForm({}, ("f", io.StringIO("abc"), None)), 100)  # type: ignore[arg-type]

    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(FileAccessError, match="cannot read the input: Input/output error"):
        parsed(MultipartForm({}, ("f", Broken(), None)), 100)


def content_of(source: Input) -> tuple[bytes, int | None]:
    reader, size = source.open()
    try:
        found = b""
        while part := reader.read(3):
            found += part
        return found, size
    finally:
        source.close(reader)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: str(path),
        lambda path: path,
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: memoryview(path.read_bytes()),
    ],
)
def test_inputs_of_known_size(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"0123456789")
    source = Input(make(path))
    source.check()
    assert source.repeatable
    assert content_of(source) == (b"0123456789", 10)
    assert content_of(source) == (b"0123456789", 10)


def test_an_open_file_is_sent_from_where_it_stands_and_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        file.seek(4)
        source = Input(file)
        assert source.repeatable
        assert not source.is_regular_file
        assert content_of(source) == (b"456789", 6)
        assert content_of(source) == (b"456789", 6)
        assert not file.closed


def test_a_pipe_has_no_size_and_goes_once() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as reader:
        with open(writing, "wb") as writer:
            writer.write(b"through a pipe")
        source = Input(reader)
        assert not source.repeatable
        assert content_of(source) == (b"through a pipe", None)


def test_a_fifo_is_a_path_without_a_size(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    source = Input(path)
    source.check()
    assert not source.is_regular_file
    assert not source.repeatable
    thread = threading.Thread(target=path.write_bytes, args=(b"fifo",))
    thread.start()
    assert content_of(source) == (b"fifo", None)
    thread.join()


@pytest.mark.parametrize(
    ("name", "message"), [("none", "No such file"), (".", "it is a folder"), ("none/none", "No such file")]
)
def test_an_unusable_path_is_named(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match=message) as caught:
        Input(tmp_path / name).check()
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("wrong", [7, 1.5, object(), ["a"]])
def test_another_type_is_a_wrong_call(wrong: object) -> None:
    with pytest.raises(TypeError, match="expected a path, an open binary file or bytes"):
        Input(wrong)  # type: ignore[arg-type]


def test_a_file_that_takes_bytes_in_parts_gets_them_all() -> None:
    class Slow:
        taken = b""

        def write(self, data: bytes, /) -> int:
            self.taken += bytes(data[:3])
            return min(3, len(data))

    slow = Slow()
    write_all(slow, b"0123456789")
    assert slow.taken == b"0123456789"
