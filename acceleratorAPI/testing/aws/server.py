"""The cloud's front: every call is counted and noted, faults strike, rules hold, moto answers the rest."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from acceleratorAPI.testing.aws import calls, moto_cloud
from acceleratorAPI.testing.aws.calls import Answer, Call
from acceleratorAPI.testing.aws.faults import Fault, FaultPlan
from acceleratorAPI.testing.aws.fleet import Fleet
from acceleratorAPI.testing.aws.panel import Panel
from acceleratorAPI.testing.aws.rules import Rules

StartResponse = Callable[..., Any]
_LOST = b""


class Server:
    """A WSGI application."""

    def __init__(self, moto: Callable[[dict[str, Any], StartResponse], Any], fleet: Fleet, rules: Rules) -> None:
        self.fleet = fleet
        self.rules = rules
        self.plan = FaultPlan()
        self.log: list[Call] = []
        self.lock = threading.Lock()
        self.panel = Panel(self)
        self._moto = moto

    def __call__(self, environment: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        length = int(environment.get("CONTENT_LENGTH") or 0)
        body = environment["wsgi.input"].read(length) if length else b""
        environment["wsgi.input"] = io.BytesIO(body)
        if "HTTP_ORIGIN" in environment:
            # A page in a browser on this host; it must not start programs here.
            answer: Answer | None = Answer(403, b"not for browsers\n")
        elif environment["PATH_INFO"].startswith("/_emulator/"):
            answer = self.panel.answer(environment, body)
        else:
            answer = self._call(environment, body)
        if answer is None:
            with contextlib.suppress(OSError):
                environment["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            start("500 Lost", [])
            return [_LOST]
        headers = [(k, v) for k, v in answer.headers if k.lower() not in ("content-length", "connection")]
        start(
            f"{answer.status} {'OK' if answer.status < 400 else 'Error'}",
            [*headers, ("Content-Length", str(_length(answer)))],
        )
        return [answer.body]

    def _call(self, environment: dict[str, Any], body: bytes) -> Answer | None:
        with self.lock:
            call = calls.read(len(self.log) + 1, environment, body)
            self.log.append(call)
            call.zone = self.rules.zone(call)
            fault = self.plan.take(call)
        if fault is None:
            return self._noted(call, self._do(call, environment))
        call.fault = str(fault)
        return self._strike(fault, call, environment)

    def _strike(self, fault: Fault, call: Call, environment: dict[str, Any]) -> Answer | None:
        time.sleep(fault.delay_s)
        if fault.kill == "before":
            _kill_caller(environment)
            return None
        if fault.error:
            return self._noted(call, calls.error(call, fault.error, fault.message, fault.status))
        answer = self._do(call, environment)
        if fault.kill:
            _kill_caller(environment)
        return None if fault.kill or fault.lost else self._noted(call, answer)

    def _noted(self, call: Call, answer: Answer) -> Answer:
        call.status, call.error = answer.status, calls.error_code(answer)
        return answer

    def _do(self, call: Call, environment: dict[str, Any]) -> Answer:
        with self.fleet.lock if call.service != "s3" else contextlib.nullcontext():
            answer = self.rules.before(call)
            if answer is None:
                answer = self._ask_moto(environment)
            return self.rules.after(call, answer)

    def _ask_moto(self, environment: dict[str, Any]) -> Answer:
        head: list[Any] = []
        chunks = self._moto(environment, lambda status, headers, _=None: head.extend((status, headers)))
        body = b"".join(chunks)
        return Answer(int(head[0].split()[0]), body, tuple(head[1]))

    def reset(self) -> None:
        """A new, empty cloud."""
        self.fleet.close()
        with self.fleet.lock, self.lock:
            moto_cloud.reset()
            self.rules.reset()
            self.plan.clear()
            self.log.clear()


def _length(answer: Answer) -> int:
    # An answer to HEAD has a length and no body.
    told = next((int(v) for k, v in answer.headers if k.lower() == "content-length"), 0)
    return len(answer.body) or told


def _kill_caller(environment: dict[str, Any]) -> None:
    """SIGKILL the process at the other end of the connection."""
    import psutil

    port, ours = int(environment["REMOTE_PORT"]), int(environment["SERVER_PORT"])
    for connection in psutil.net_connections("tcp"):
        local, remote = connection.laddr, connection.raddr
        if (
            local
            and remote
            and local.port == port
            and remote.port == ours
            and connection.pid not in (None, os.getpid())
        ):
            os.kill(connection.pid, signal.SIGKILL)


def as_json(value: Any, status: int = 200) -> Answer:
    """A JSON answer."""
    return Answer(status, json.dumps(value).encode(), (("Content-Type", "application/json"),))
