"""T31: what a v1.0 client sent once, sent again byte for byte: every answer still has what that client reads."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from compatibility.recording import FOLDER, message, shape

RECORDED = sorted(FOLDER.glob("*.request"))


def lacking(recorded: Any, found: Any, place: str = "answer") -> list[str]:
    """What was there and is not any more, or is of another type; what is new, or was null, is no matter."""
    if isinstance(recorded, dict):
        if not isinstance(found, dict):
            return [place]
        missing = [f"{place}.{name}" for name in recorded if name not in found]
        kept = [name for name in recorded if name in found]
        return missing + [text for name in kept for text in lacking(recorded[name], found[name], f"{place}.{name}")]
    if isinstance(recorded, list):
        if not isinstance(found, list) or len(found) < len(recorded):
            return [place]
        return lacking(recorded[0], found[0], f"{place}[0]") if recorded else []
    return [] if recorded in (found, "null") else [f"{place}: {found}, was {recorded}"]


def test_the_exchanges_of_a_historical_client_still_work(nodes: Any) -> None:
    assert len(RECORDED) == 8
    node = nodes("--auth", "none", "--accelerator", "cast_gzip", "--slots", "1")
    with socket.create_connection(node.address, 60) as connection:
        for path in RECORDED:
            recorded = json.loads(path.with_suffix(".answer.json").read_text())
            while True:
                connection.sendall(path.read_bytes())
                found = shape(answer := message(connection))
                # The client asked for its job until that had ended.
                if "process-1" not in path.name or b'"processed":true' in answer:
                    break
            assert lacking(recorded, found) == [], path.name


@pytest.mark.parametrize(
    ("found", "text"),
    [({"a": "text"}, []), ({}, ["answer.a"]), ({"a": "number"}, ["answer.a: number, was text"]), ([], ["answer"])],
)
def test_what_is_lacking_is_named(found: Any, text: list[str]) -> None:
    assert lacking({"a": "text"}, found) == text
