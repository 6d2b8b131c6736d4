"""Real nodes on loopback, and a small raw HTTP client for them."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

PLUGIN = Path(__file__).parent / "plugin"
LIMIT_S = 60


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def app(self) -> Any:
        return self.json["parametersresult"]["app"]


def multipart(fields: dict[str, str], file: bytes | None, filename: str = "in.dat") -> tuple[bytes, str]:
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if file is not None:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="datafile"; filename="{filename}"\r\n\r\n'
        parts += [head.encode(), file, b"\r\n"]
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


@dataclass
class Node:
    """A node process and how to talk to it."""

    process: subprocess.Popen[bytes]
    state: Path
    log_path: Path
    token: str | None
    url: str = ""
    extra_headers: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, *, auth: bool = True
    ) -> Answer:
        if path.startswith(("http://", "https://")):
            path = path[path.index("/", 8) :]
        connection = http.client.HTTPConnection(*self.address, timeout=LIMIT_S)
        sent = dict(headers or {})
        if auth and self.token:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path: str, fields: dict[str, str] | None = None, file: bytes | None = None) -> Answer:
        body, content_type = multipart(fields or {}, file)
        return self.request("POST", path, body, {"Content-Type": content_type})

    def exchange(self, *parts: bytes) -> bytes:
        """What the node answers to these very bytes until it closes the connection."""
        answer = b""
        with socket.create_connection(self.address, LIMIT_S) as connection, contextlib.suppress(ConnectionError):
            with contextlib.suppress(ConnectionError):
                for part in parts:
                    connection.sendall(part)
            while data := connection.recv(65536):
                answer += data
        return answer

    def configure(self, accelerator: str, file: bytes | None = None, **app: Any) -> Any:
        parameters = json.dumps({"env": {"accelerator": accelerator}, "app": app})
        answer = self.post("/v1.0/configuration/", {"parameters": parameters}, file)
        assert answer.status == 200, answer.body
        return answer.json

    def send(self, configuration: Any, file: bytes | None, **parameters: Any) -> Any:
        fields = {"configuration": configuration["url"], "parameters": json.dumps({"app": {"specific": parameters}})}
        answer = self.post("/v1.0/process/", fields, file)
        assert answer.status == 200, answer.body
        return answer.json

    def ended(self, job: Any) -> Any:
        answer = self.get(f"/v1.0/process/{job['id']}?wait=30")
        assert answer.status == 200, answer.body
        assert answer.json["processed"], answer.json
        return answer.json

    def until(self, job: Any, condition: Callable[[Any], bool]) -> Any:
        return eventually(lambda: (r := self.get(f"/v1.0/process/{job['id']}").json) and condition(r) and r)

    def workers(self) -> list[psutil.Process]:
        return [
            child
            for child in psutil.Process(self.process.pid).children()
            if "acceleratorAPI.node.worker" in " ".join(child.cmdline())
        ]

    def spool(self) -> list[str]:
        return sorted(path.name for path in (self.state / "spool").iterdir())

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(LIMIT_S)


def eventually(condition: Callable[[], Any]) -> Any:
    """What ``condition`` answers once it is true; fails when it does not come."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def environment() -> dict[str, str]:
    kept = ("PATH", "LANG", "LD_LIBRARY_PATH")
    found = {name: value for name, value in os.environ.items() if name in kept or name.startswith("OTEL_")}
    path = [str(PLUGIN), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**found, "PYTHONPATH": os.pathsep.join(filter(None, path)), "PYTHONWARNINGS": "error"}


class Nodes:
    """Starts nodes and ends them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = [sys.executable, "-m", "acceleratorAPI.node"]
        self._started: list[Node] = []
        self.environment: dict[str, str] = {}

    def spawn(self, *options: str, state: Path | None = None, auth: bool = True) -> Node:
        number = len(self._started)
        state = state or self.folder / f"state{number}"
        log_path = self.folder / f"log{number}"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [*self.command, "--port", "0", "--state", str(state), *options],
                env={**environment(), "HOME": str(self.folder), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        node = Node(process, state, log_path, None)
        self._started.append(node)
        return node

    def __call__(self, *options: str, state: Path | None = None) -> Node:
        node = self.spawn(*options, state=state)

        def listening() -> bool:
            assert node.process.poll() is None, node.log
            return (node.state / "node.json").exists() and self._of(node)["pid"] == node.process.pid

        eventually(listening)
        node.url = self._of(node)["url"]
        token = node.state / "token"
        node.token = token.read_text().strip() if token.exists() and "none" not in options else None
        return node

    @staticmethod
    def _of(node: Node) -> Any:
        return json.loads((node.state / "node.json").read_text())

    def end(self) -> None:
        for node in self._started:
            if node.process.poll() is None:
                node.process.kill()
            node.process.wait(LIMIT_S)


@pytest.fixture(scope="session")
def node_kind() -> type[Nodes]:
    """For fixtures that start nodes of their own."""
    return Nodes


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Starts nodes for one test."""
    found = Nodes(tmp_path)
    yield found
    found.end()


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose files the shared node may use."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory, shared_folder: Path) -> Iterator[Node]:
    """A node that many tests share; none may stop its configurations or end it."""
    found = Nodes(tmp_path_factory.mktemp("node"))
    yield found("--accelerator", "test_copy", "--slots", "2", "--files-under", str(shared_folder))
    found.end()


@pytest.fixture(scope="session")
def open_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that asks for no token, shared by tests that say odd things to it."""
    found = Nodes(tmp_path_factory.mktemp("open"))
    yield found("--auth", "none", "--slots", "1")
    found.end()


@pytest.fixture(scope="session")
def copier(node: Node) -> Any:
    """A configuration of ``test_copy`` on the shared node."""
    return node.configure("test_copy")


@pytest.fixture(scope="session")
def basic() -> Callable[[str], str]:
    """The Basic header of a token."""
    return lambda token: "Basic " + base64.b64encode(f"anybody:{token}".encode()).decode()
