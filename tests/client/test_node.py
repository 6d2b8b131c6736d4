"""The REST client against a server that misbehaves on demand."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest

from acceleratorAPI.client import node as node_module
from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.client.transfer import Input
from acceleratorAPI.errors import (
    AuthenticationError,
    DatafileError,
    DiskFullError,
    FunctionFailedError,
    NodeBusyError,
    NodeError,
    NodeUnreachableError,
    NotFoundError,
    ParameterError,
    PermissionDeniedError,
    WorkerCrashedError,
)
from acceleratorAPI.protocol.records import Lease

STOPPED = {"app": {"status": 0, "msg": "ok"}}

Reply = Callable[[BaseHTTPRequestHandler], None]

CONFIGURATION = {
    "id": "1",
    "url": "http://x/v1.0/configuration/1/",
    "accelerator": "cast_gzip",
    "created": "2026-01-01T00:00:00Z",
    "used": True,
    "processed": True,
    "processed_date": None,
    "inerror": False,
    "errorcode": None,
    "parameters": "{}",
    "parametersresult": {"app": {"status": 0, "msg": "ok"}},
    "datafile": None,
}


def reply(status: int, body: object, **headers: str) -> Reply:
    def send(handler: BaseHTTPRequestHandler) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return send


def problem(status: int, code: str, detail: str, **headers: str) -> Reply:
    body = {"title": "", "status": status, "detail": detail, "code": code, "errorcode": code}
    return reply(status, body, **headers)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


class Script:
    """What the server answers, one reply a request (the last for ever), and what it was asked."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.asked: list[tuple[str, str, bytes, str | None]] = []
        self.url = ""


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            while self.headers.get("Transfer-Encoding") == "chunked":
                size = int(self.rfile.readline(), 16)
                body += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    break
            script.asked.append((self.command, self.path, body, self.headers.get("Authorization")))
            current = script.replies.pop(0) if len(script.replies) > 1 else script.replies[0]
            current(self)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    yield script
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeClient]:
    monkeypatch.setattr(node_module.time, "sleep", lambda _: None)
    node = NodeClient(script.url + "/", "the-token")
    yield node
    node.close()


def ignore(*_: object) -> None:
    pass


def test_the_token_is_sent_and_never_shown(script: Script, client: NodeClient) -> None:
    script.replies = [reply(200, STOPPED)]
    assert client.stop().msg == "ok"
    assert script.asked == [("GET", "/v1.0/stop", b"", "Bearer the-token")]
    assert "the-token" not in repr(client)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(400, "parameter", "level: wrong"), ParameterError),
        (problem(400, "datafile", "line 3: wrong"), DatafileError),
        (problem(401, "authentication", "no token"), AuthenticationError),
        (problem(500, "worker-crashed", "died"), WorkerCrashedError),
        (reply(401, b"<html>"), AuthenticationError),
        (reply(403, b""), PermissionDeniedError),
        (reply(404, {"detail": "no code"}), NotFoundError),
        (reply(418, [1]), NodeError),
        (reply(302, b"", Location="/elsewhere"), NodeError),
    ],
)
def test_refusals_come_back_as_the_errors_they_were(
    answer: Reply, kind: type[Exception], script: Script, client: NodeClient
) -> None:
    script.replies = [answer]
    with pytest.raises(kind) as caught:
        client.stop()
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert len(script.asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b'{"results": 1}', b"[]"])
def test_another_server_is_not_taken_for_a_node(body: bytes, script: Script, client: NodeClient) -> None:
    script.replies = [reply(200, body)]
    with pytest.raises(NodeError):
        client.newest_configuration()


def test_a_busy_node_is_asked_again_with_the_same_bytes(script: Script, client: NodeClient) -> None:
    busy = problem(503, "busy", "queue full", Retry_After="2")
    script.replies = [busy, busy, reply(200, CONFIGURATION)]
    record = client.configure({"app": {}}, Input(b"cat,dog\n"), ignore)
    assert record.id == "1"
    assert len(script.asked) == 3
    for _, path, body, _ in script.asked:
        assert path.partition("?")[0] == "/v1.0/configuration/"
        assert b"cat,dog\n" in body


def test_a_node_that_stays_busy_is_an_error(script: Script, client: NodeClient) -> None:
    script.replies = [problem(503, "busy", "queue full", Retry_After="7")]
    with pytest.raises(NodeBusyError, match="queue full") as caught:
        client.configure({}, None, ignore)
    assert caught.value.retry_after_s == 7
    assert 2 < len(script.asked) <= 1 + node_module.BUSY_PATIENCE_S / 7


def test_a_full_disk_is_not_asked_again(script: Script, client: NodeClient) -> None:
    script.replies = [problem(507, DiskFullError.code, "disk full")]
    with pytest.raises(DiskFullError):
        client.configure({}, Input(b"x"), ignore)
    assert len(script.asked) == 1


def test_what_can_be_read_only_once_is_sent_only_once(script: Script, client: NodeClient) -> None:
    class Pipe(BytesIO):
        def seekable(self) -> bool:
            return False

    script.replies = [problem(503, "busy", "queue full")]
    with pytest.raises(NodeBusyError):
        client.configure({}, Input(Pipe(b"once")), ignore)
    assert len(script.asked) == 1
    assert b"once" in script.asked[0][2]


def test_what_may_be_asked_twice_is_and_sending_is_not(script: Script, client: NodeClient) -> None:
    script.replies = [hang_up, reply(200, STOPPED)]
    assert client.stop().msg == "ok"
    script.replies = [hang_up, reply(200, {})]
    client.lease(Lease(seconds=60))
    assert script.asked[-1] == script.asked[-2]
    script.replies = [hang_up]
    script.asked.clear()
    with pytest.raises(NodeUnreachableError, match="broke off"):
        client.configure({}, None, ignore)
    assert len(script.asked) == 1


def test_a_failed_configuration_or_job_is_raised_as_what_it_was(script: Script, client: NodeClient) -> None:
    result = {"app": {"status": -1, "msg": "the kernel\nsaid no"}}
    failed = {**CONFIGURATION, "inerror": True, "errorcode": "function-failed", "parametersresult": result}
    script.replies = [reply(200, failed)]
    with pytest.raises(FunctionFailedError, match=r"^the kernel said no$"):
        client.configure({}, None, ignore)
    script.replies = [reply(200, {**failed, "errorcode": "of-a-later-version"})]
    with pytest.raises(FunctionFailedError):
        client.configure({}, None, ignore)


def test_nothing_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    client = NodeClient(f"http://127.0.0.1:{port}", diagnose=lambda: "the node's process 7 has ended, its log is /l")
    with pytest.raises(NodeUnreachableError) as caught:
        client.stop()
    assert str(caught.value) == (
        f"nothing answers at http://127.0.0.1:{port}: the node's process 7 has ended, its log is /l"
    )
    with pytest.raises(NodeUnreachableError, match="Connection refused"):
        NodeClient(f"http://127.0.0.1:{port}").stop()


@pytest.mark.parametrize("url", ["http://", "ftp://host", "http://host:port", "http://[::1"])
def test_an_impossible_address_is_named(url: str) -> None:
    with pytest.raises(NodeError) as caught:
        NodeClient(url).stop()
    assert "\n" not in str(caught.value)


def test_removing_what_is_gone_is_fine(script: Script, client: NodeClient) -> None:
    script.replies = [problem(404, "not-found", "no such job")]
    client.remove_job("7")
    assert script.asked[0][:2] == ("DELETE", "/v2/jobs/7")
