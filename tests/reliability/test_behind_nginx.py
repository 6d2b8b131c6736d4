"""T20, behind a proxy: what nginx lets through of requests that two readers could understand differently.

The smuggled request would delete a job. It must still be there, whatever was answered, and the node must be well.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CONFIGURATION = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; client_max_body_size 0;
  upstream node {{ server {host}:{port}; keepalive 4; }}
  server {{
    listen unix:{folder}/socket;
    location / {{
      proxy_pass http://node; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_request_buffering {buffering};
    }}
  }}
}}
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, node_kind: Any) -> Iterator[Any]:
    found = node_kind(tmp_path_factory.mktemp("node"))
    yield found("--auth", "none", "--slots", "1", "--accelerator", "test_copy", "--body-idle", "2")
    found.end()


@pytest.fixture(params=["on", "off"])
def proxy(request: Any, node: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of an nginx in front of the node, which sends bodies on at once or when they are whole."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed (scripts/system-packages)")
    folder = tmp_path_factory.mktemp("nginx")
    folder.chmod(0o755)
    (host, port), path = node.address, folder / "nginx.conf"
    path.write_text(CONFIGURATION.format(folder=folder, host=host, port=port, buffering=request.param))
    process = subprocess.Popen([program, "-c", str(path), "-p", str(folder)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (folder / "socket").exists():
        assert process.poll() is None, (folder / "error.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield folder / "socket"
    process.terminate()
    process.wait(30)


def probes(smuggled: bytes) -> dict[str, bytes]:
    def post(*fields: bytes) -> bytes:
        return b"\r\n".join([b"POST /v1.0/process/ HTTP/1.1", b"Host: localhost", *fields, b"", b""])

    chunked = b"Transfer-Encoding: chunked"
    ends = b"0\r\n\r\n"
    hidden = b"%x\r\n%s\r\n0\r\n\r\n" % (len(smuggled), smuggled)
    return {
        "CL.TE": post(b"Content-Length: %d" % len(ends + smuggled), chunked) + ends + smuggled,
        "TE.CL": post(chunked, b"Content-Length: 4") + hidden,
        "TE.TE": post(chunked, b"Transfer-Encoding: x") + ends + smuggled,
        "TE.TE, other case": post(b"Transfer-Encoding: Chunked", b"transfer-encoding: identity") + ends + smuggled,
        "TE with a tab": post(b"Transfer-Encoding:\tchunked", b"Content-Length: 5") + ends + smuggled,
        "TE with a space after": post(b"Transfer-Encoding : chunked", b"Content-Length: 5") + ends + smuggled,
        "TE folded": post(b"Transfer-Encoding:", b" chunked", b"Content-Length: 5") + ends + smuggled,
        "TE xchunked": post(b"Transfer-Encoding: xchunked", b"Content-Length: 5") + ends + smuggled,
        "CL twice": post(b"Content-Length: 0", b"Content-Length: %d" % len(smuggled)) + smuggled,
        "CL with a sign": post(b"Content-Length: +0") + smuggled,
        "chunk extension with a line feed": post(chunked) + b"5;a\n" + smuggled + b"\r\n0\r\n\r\n",
        "chunk size too long": post(chunked) + b"0" * 20 + b"5\r\nabcde\r\n0\r\n\r\n" + b"G" + smuggled,
        "a body with a GET": b"GET /v2/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(smuggled)
        + smuggled,
    }


def exchange(path: Path, sent: bytes) -> bytes:
    answer = b""
    with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(ConnectionError, TimeoutError):
        # A proxy that waits for more of a body says nothing.
        connection.settimeout(2)
        connection.connect(str(path))
        connection.sendall(sent)
        while data := connection.recv(65536):
            answer += data
    return answer


def test_nothing_is_smuggled_through_a_proxy(node: Any, proxy: Path) -> None:
    configuration = node.configure("test_copy")
    job = node.ended(node.send(configuration, b"kept"))
    path = f"/v1.0/process/{job['id']}/"
    smuggled = f"DELETE {path} HTTP/1.1\r\nHost: localhost\r\nX: x\r\n\r\n".encode()
    for name, sent in probes(smuggled).items():
        answer = exchange(proxy, sent)
        assert not answer.startswith(b"HTTP/1.1 2") or name == "a body with a GET", (name, answer[:200])
        # nginx's own word for a method it does not know, or an encoding, is 501.
        assert b"HTTP/1.1 500" not in answer, (name, answer)
        assert b"HTTP/1.1 204" not in answer, (name, answer)
        assert node.get(path).status == 200, name
    asked = exchange(proxy, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert asked.startswith(b"HTTP/1.1 200")
    body = b'--b\r\nContent-Disposition: form-data; name="datafile"; filename="x"\r\n\r\nby proxy\r\n--b--\r\n'
    head = b"POST /v1.0/process/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    for framed in (
        head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
        head + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
    ):
        assert exchange(proxy, framed).startswith(b"HTTP/1.1 200")
