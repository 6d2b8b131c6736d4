"""The node's log: one line an event, as text or JSON, with the request and the job it belongs to.

What is known is noted once (``note``); every event of the same task, and of tasks it starts, then says so.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, TextIO

from acceleratorAPI.node.redact import shown

LogFormat = Literal["json", "text"]

_about: ContextVar[Mapping[str, Any]] = ContextVar("about", default=MappingProxyType({}))


def note(**facts: Any) -> None:
    """Add to what the events from here on are about: ``request_id``, ``job``, ``configuration``, ``function``."""
    _about.set({**_about.get(), **facts})


def noted() -> Mapping[str, Any]:
    """What the events of this task are about."""
    return _about.get()


class JsonLine(logging.Formatter):
    """One JSON object an event: time (RFC 3339), level, event, then what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **noted(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps({key: shown(value) if isinstance(value, str) else value for key, value in line.items()})


class TextLine(logging.Formatter):
    """One line an event for people, tracebacks included."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        request = noted().get("request_id")
        line = " | ".join(super().format(record).splitlines())
        return shown(f"{line} (request {request})" if request else line)


def start(wanted: LogFormat | None, stream: TextIO | None = None) -> None:
    """Log to ``stream`` (standard error): as ``wanted``, else text on a terminal and JSON elsewhere."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    form = wanted or ("text" if stream.isatty() else "json")
    handler.setFormatter(JsonLine() if form == "json" else TextLine())
    for name, level in (
        ("acceleratorAPI.node", logging.INFO),
        ("uvicorn", logging.WARNING),
        ("asyncio", logging.ERROR),
        ("opentelemetry", logging.ERROR),
    ):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
