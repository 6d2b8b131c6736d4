"""S3 through fsspec, judged by boto3: whole objects in and out, and nothing of a failed one."""

from __future__ import annotations

import contextlib
import os
import random
import sys
from typing import Any

import pytest

from acceleratorAPI.errors import FileAccessError, InputError
from acceleratorAPI.remote import access, objects
from acceleratorAPI.remote.names import ObjectUrl, parse

DATA = random.Random(6).randbytes(20 << 20)


def write(url: str, data: bytes) -> None:
    with access.replacing(parse(url)) as target:
        target.write(data)


def read(url: str) -> bytes:
    with contextlib.closing(access.open_source(parse(url))) as reader:
        found = bytearray()
        while part := reader.read(1 << 20):
            found += part
        assert reader.size_bytes == len(found)
        return bytes(found)


@pytest.mark.parametrize("size", [0, 1, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, len(DATA)])
def test_objects_are_read_whole(s3: Any, size: int) -> None:
    assert read(s3.put("in put+é", DATA[:size])) == DATA[:size]


@pytest.mark.parametrize("size", [0, 1, (16 << 20) - 1, 16 << 20, (16 << 20) + 1, len(DATA)])
@pytest.mark.parametrize("known", [True, False])
def test_objects_are_written_whole(s3: Any, size: int, known: bool) -> None:
    with access.replacing(parse("s3://bucket/a b/out+é"), size if known else None) as target:
        for at in range(0, size, 1 << 20):
            target.write(DATA[at : min(size, at + (1 << 20))])
        assert s3.keys() == []
    assert s3.get("a b/out+é") == DATA[:size]
    assert s3.uploads() == []


@pytest.mark.parametrize("size", [0, 1, len(DATA)])
def test_a_failed_output_leaves_nothing(s3: Any, size: int) -> None:
    s3.put("out", b"before")

    def fail() -> None:
        with access.replacing(parse("s3://bucket/out")) as target:
            target.write(DATA[:size])
            assert len(s3.uploads()) == (size > objects.PART_BYTES)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert s3.get("out") == b"before"
    assert s3.uploads() == []


def test_an_upload_that_cannot_be_completed_leaves_nothing(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    def fail(_self: Any) -> None:
        raise OSError("the store says no")

    monkeypatch.setattr(s3fs.core.S3File, "commit", fail)
    with pytest.raises(FileAccessError, match=r"cannot write 's3://bucket/out': the store says no"):
        write("s3://bucket/out", DATA)
    assert s3.keys() == []
    assert s3.uploads() == []


def test_an_object_that_changes_while_it_is_read_is_an_error(s3: Any) -> None:
    url = parse(s3.put("in", DATA))
    with contextlib.closing(access.open_source(url)) as reader:
        reader.read(1 << 20)
        s3.put("in", DATA[::-1])
        with pytest.raises(FileAccessError, match="changed while it was read"):
            reader.read(len(DATA))


def test_missing_objects_and_buckets(s3: Any) -> None:
    for url in "s3://bucket/none", "s3://no-such-bucket/none":
        with pytest.raises(FileAccessError, match="no such object or bucket"):
            access.open_source(parse(url))
    with pytest.raises(FileAccessError, match="no such object or bucket"):
        write("s3://no-such-bucket/out", b"x")


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_missing_package_is_named_with_its_cure(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, objects._FILE_SYSTEMS[scheme][0], None)
    with pytest.raises(InputError, match=r"pip install 'acceleratorAPI\[url\]'"):
        access.check(ObjectUrl(scheme, "bucket", "key"))


def test_parts_grow_with_an_output_of_unknown_size() -> None:
    """10,000 parts must hold whatever comes; the largest object of S3 is 50 TB."""

    class File:
        blocksize = objects.PART_BYTES
        parts = 0

        def write(self, data: Any) -> None:
            self.parts += -(-len(data) // self.blocksize)

    file = File()
    writer = objects.ObjectWriter(file, "x", growing=True)

    class Huge:
        """So many bytes that are never there."""

        def __len__(self) -> int:
            return file.blocksize

    while file.parts < 9_990:
        writer.write(Huge())  # type: ignore[arg-type]
    assert writer._done > 50 << 40


def test_nothing_is_imported_before_it_is_needed() -> None:
    import subprocess

    code = (
        "import sys, acceleratorAPI.remote.access; print([m for m in ('fsspec', 's3fs', 'gcsfs') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"
