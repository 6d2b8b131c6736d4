"""What tests of faults share: the lines of the table in docs/reliability.md, and jobs in pieces."""

from __future__ import annotations

import contextlib
import http.client
import json
from dataclasses import dataclass
from typing import Any

TUS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}


@dataclass
class Line:
    """One line of the table.

    Attributes:
        fault: what was done to the node.
        injected: how often.
        survived: how often everything was as promised afterwards.
        lost: acknowledged bytes or rows that were gone, and results that were wrong.
        command: makes the line again.
    """

    fault: str
    injected: int = 0
    survived: int = 0
    lost: int = 0
    command: str = ""

    def count(self, good: bool) -> None:
        self.injected += 1
        self.survived += good
        self.lost += not good

    def __str__(self) -> str:
        return f"| {self.fault} | {self.injected} | {self.survived} | {self.lost} | `{self.command}` |"


def create(node: Any, size: int, first: bytes = b"") -> str:
    """The path of a new upload of ``size`` bytes."""
    answer = node.request("POST", "/v2/files/", first, {**TUS, "Upload-Length": str(size)})
    assert answer.status == 201, answer.body
    return str(answer.headers["Location"]).removeprefix(node.url)


def complete(node: Any, path: str, data: bytes) -> None:
    """Send what of ``data`` is not at the node yet, if the upload is still there."""
    head = node.request("HEAD", path, headers=TUS)
    if head.status == 200 and (at := int(head.headers["Upload-Offset"])) < len(data):
        answer = node.request("PATCH", path, data[at:], {**TUS, "Upload-Offset": str(at)})
        assert answer.status in (204, 404), answer.body


def complete_if_alive(node: Any, path: str, data: bytes) -> None:
    """As ``complete``, to a node that may be killed meanwhile."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        complete(node, path, data)


def begin(node: Any, key: str = "", wait: int = 0, **asked: Any) -> Any:
    """A new job's answer."""
    headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
    return node.request("POST", f"/v2/jobs?wait={wait}", json.dumps(asked), headers)


def ended(node: Any, number: str) -> Any:
    """The record of a job once it has ended."""
    for _ in range(6):
        record = node.get(f"/v2/jobs/{number}?wait=10").json
        if record["progress"]["state"] not in ("queued", "running"):
            break
    assert record["progress"]["state"] in ("succeeded", "failed", "cancelled"), record
    return record
