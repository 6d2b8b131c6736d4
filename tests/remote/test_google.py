"""``gs`` through gcsfs, on a small store of this process: whole objects in and out, and nothing of a failed one."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest

from acceleratorAPI.errors import FileAccessError
from acceleratorAPI.remote import access, objects
from acceleratorAPI.remote.names import parse

# aiohttp's opinion of how gcsfs sends a part.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")

DATA = random.Random(8).randbytes(20 << 20)


def read(url: str) -> bytes:
    with contextlib.closing(access.open_source(parse(url))) as reader:
        found = bytearray()
        while part := reader.read(1 << 20):
            found += part
        return bytes(found)


@pytest.mark.parametrize("size", [0, 1, (8 << 20) + 1, len(DATA)])
def test_objects_are_read_whole(gs: Any, size: int) -> None:
    assert read(gs.put("a b/in+é", DATA[:size])) == DATA[:size]


@pytest.mark.parametrize("size", [0, 1, 16 << 20, len(DATA)])
def test_objects_are_written_whole(gs: Any, size: int) -> None:
    with access.replacing(parse("gs://bucket/a b/out+é")) as target:
        for at in range(0, size, 1 << 20):
            target.write(DATA[at : min(size, at + (1 << 20))])
        assert gs.objects == {}
    assert gs.objects["a b/out+é"][0] == DATA[:size]
    assert gs.uploads == {}


@pytest.mark.parametrize("size", [1, len(DATA)])
def test_a_failed_output_leaves_nothing(gs: Any, size: int) -> None:
    gs.put("out", b"before")

    def fail() -> None:
        with access.replacing(parse("gs://bucket/out")) as target:
            target.write(DATA[:size])
            assert len(gs.uploads) == (size > objects.PART_BYTES)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert gs.objects["out"][0] == b"before"
    assert gs.uploads == {}


def test_an_object_that_changes_while_it_is_read_is_an_error(gs: Any) -> None:
    with contextlib.closing(access.open_source(parse(gs.put("in", DATA)))) as reader:
        reader.read(1 << 20)
        gs.put("in", DATA[::-1])
        with pytest.raises(FileAccessError, match="changed while it was read"):
            reader.read(len(DATA))


def test_a_missing_object(gs: Any) -> None:
    with pytest.raises(FileAccessError, match="no such object or bucket"):
        access.open_source(parse("gs://bucket/none"))
