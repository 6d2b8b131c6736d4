"""The log as a program reads it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from datetime import datetime
from typing import Any

import pytest

from acceleratorAPI.node import logs
from acceleratorAPI.node.redact import shown

log = logging.getLogger("acceleratorAPI.node.test")


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    for name in ("acceleratorAPI.node", "uvicorn", "asyncio", "opentelemetry"):
        logger = logging.getLogger(name)
        for attribute in ("handlers", "propagate", "level"):
            monkeypatch.setattr(logger, attribute, getattr(logger, attribute))
    return io.StringIO()


def events(node: Any) -> list[Any]:
    return [json.loads(line) for line in node.log.splitlines()]


def test_every_line_of_a_nodes_log_is_an_event(nodes: Any) -> None:
    node = nodes("--accelerator", "test_copy", "--slots", "1", "--access-log")
    node.ended(node.send(node.configure("test_copy"), b"x" * 1000))
    node.ended(node.send(node.configure("test_fail"), b"x", how="untyped", token="hush-hush"))
    node.ended(node.send(node.configure("test_slow"), b"x", seconds=0, then="kill"))
    node.get("/v1.0/process/?page=1&token=hush-hush", Authorization=f"Bearer {node.token}")
    assert node.end() == 0
    found = events(node)
    for event in found:
        assert datetime.fromisoformat(event["time"]).utcoffset() is not None
        assert event["level"] in ("info", "warning", "error")
        assert event["event"]
    assert "hush-hush" not in node.log
    assert node.token not in node.log
    (done,) = [event for event in found if event["event"] == "job 1: test_copy succeeded"]
    assert (done["job"], done["configuration"], done["function"]) == (1, 1, "test_copy")
    (accepted,) = [event for event in found if event.get("route") == "/v1.0/process" and event.get("job") == 1]
    assert (accepted["method"], accepted["status"]) == ("POST", 200)
    assert accepted["received_bytes"] > 1000
    assert accepted["request_id"] == done["request_id"]
    (fault,) = [event for event in found if "RuntimeError" in event["event"]]
    assert fault["job"] == 2
    assert "\n" in fault["event"]
    (crash,) = [event for event in found if "SIGKILL" in event["event"]]
    assert (crash["level"], crash["job"], crash["function"]) == ("warning", 3, "test_slow")


def test_without_access_log_requests_are_not_events(node: Any) -> None:
    node.get("/v2/node")
    assert "GET /v2/node" not in node.log


def test_text_for_people(nodes: Any) -> None:
    node = nodes("--log-format", "text", "--access-log", "--slots", "1")
    node.request("GET", "/health/live", headers={"X-Request-Id": "abc-1"})
    node.end()
    (line,) = [line for line in node.log.splitlines() if "/health/live" in line]
    assert re.fullmatch(
        r"[\d-]{10} [\d:,]{12} INFO GET /health/live 200 in 0\.\d{3} s, 0 bytes in, \d+ out \(request abc-1\)", line
    )


def test_a_client_names_its_request(node: Any) -> None:
    assert node.get("/", X_Request_Id="my-id:7").headers["x-request-id"] == "my-id:7"
    own = {node.get("/").headers["x-request-id"] for _ in range(3)}
    assert len(own) == 3
    for odd in ("", "two words", "x" * 129, "<script>"):
        assert re.fullmatch("[0-9a-f]{16}", node.get("/", X_Request_Id=odd).headers["x-request-id"])
    assert node.request("GET", "/v2/node", auth=False).headers["x-request-id"]


def test_a_strange_path_stays_one_line(nodes: Any) -> None:
    node = nodes("--access-log", "--log-format", "text", "--slots", "1")
    node.get("/a%0a2026-01-01%20INFO%20forged%1b[31m")
    node.end()
    lines = [line for line in node.log.splitlines() if "forged" in line]
    assert len(lines) == 1
    assert "\\n" in lines[0]
    assert "\x1b" not in lines[0]


def test_a_traceback_is_part_of_its_event(stream: io.StringIO) -> None:
    logs.start("json", stream)
    try:
        raise ValueError("Authorization: Bearer abcdefghijkl")
    except ValueError:
        log.exception("it failed")
    event = json.loads(stream.getvalue())
    assert event["event"] == "it failed"
    assert "ValueError: Authorization: Bearer ***" in event["traceback"]


@pytest.mark.parametrize(("terminal", "form"), [(True, "text"), (False, "json")])
def test_the_format_fits_the_reader(stream: io.StringIO, terminal: bool, form: str) -> None:
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    logs.start(None, stream)
    log.info("hello")
    assert stream.getvalue().startswith("{") == (form == "json")


def test_what_is_noted_stays_in_its_task(stream: io.StringIO) -> None:
    logs.start("json", stream)

    async def request(number: int) -> None:
        logs.note(request_id=str(number))
        await asyncio.sleep(0)
        logs.note(job=number)
        await asyncio.create_task(later())

    async def later() -> None:
        await asyncio.sleep(0)
        log.info("done")

    async def both() -> None:
        await asyncio.gather(request(1), request(2))
        log.info("nobody's")

    asyncio.run(both())
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(event.get("request_id"), event.get("job")) for event in found] == [("1", 1), ("2", 2), (None, None)]


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer SECRETSECRET",
        "authorization: basic SECRETSECRET==",
        "https://s3/x?X-Amz-Signature=SECRETSECRET&a=b",
        "https://blob/x?sv=1&sig=SECRETSECRET",
        "GET /x?token=SECRETSECRET failed",
    ],
)
def test_credentials_are_known_by_their_shape(text: str) -> None:
    assert "SECRET" not in shown(text)
    assert "***" in shown(text)


@pytest.mark.parametrize("text", ["the bearer of news", "basic level=2", "GET /x?page=2", "job 1: cast_gzip succeeded"])
def test_other_text_stays(text: str) -> None:
    assert shown(text) == text
