"""Servers on loopback that stand for the network: a TLS server with faults on request, and an S3."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
import trustme
from moto.server import ThreadedMotoServer

from acceleratorAPI.remote import web as transport


@dataclass
class Page:
    """A file of the server, and what goes wrong with it.

    ``cuts`` are the bytes after which the first, second, ... answer breaks off; ``statuses`` are what the first,
    second, ... request is answered instead.
    """

    data: bytes = b""
    etag: str | None = '"v1"'
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    location: str | None = None
    length: bool = True
    chunked: bool = False
    ranges: bool = True
    hang: threading.Event | None = None
    etag_later: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def _page(self) -> Page | None:
        path = self.path.partition("?")[0]
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        page = self.server.pages.get(path)
        status = page.statuses.pop(0) if page is not None and page.statuses else 404 if page is None else 0
        if status:
            if self.command == "PUT":
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer(status)
            return None
        return page

    def _answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        page = self._page()
        if page is None:
            return
        if page.location is not None:
            self._answer(302, Location=page.location)
            return
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(span[1]) if span and page.ranges and self.headers.get("If-Range") == page.etag else 0
        body = page.data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(page.data) - 1}/{len(page.data)}")
        if page.etag:
            self.send_header("ETag", page.etag)
        for name, value in page.headers.items():
            self.send_header(name, value)
        if page.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif page.length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.close_connection = True
        self.end_headers()
        cut = page.cuts.pop(0) if page.cuts else None
        self._send(body[:cut] if cut is not None else body, page)
        if page.hang is not None and cut is not None:
            page.hang.wait(60)
        if cut is not None:
            page.etag = page.etag_later or page.etag
            self._break()
        elif page.chunked:
            self.wfile.write(b"0\r\n\r\n")
        elif not page.length:
            # TLS's goodbye is all that tells the end from a cut.
            with contextlib.suppress(OSError):
                self.connection.unwrap()

    def _send(self, body: bytes, page: Page) -> None:
        with contextlib.suppress(OSError):
            for at in range(0, len(body), 1 << 16):
                part = body[at : at + (1 << 16)]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if page.chunked else part)

    def _break(self) -> None:
        self.close_connection = True
        # Without TLS's goodbye, as a cut cable.
        with contextlib.suppress(OSError):
            self.connection.shutdown(2)

    def do_PUT(self) -> None:
        page = self._page()
        if page is None:
            return
        if page.location is not None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(307, Location=page.location)
            return
        size = int(self.headers["Content-Length"])
        cut = page.cuts.pop(0) if page.cuts else None
        body = self.rfile.read(size if cut is None else min(cut, size))
        if page.hang is not None:
            page.hang.wait(60)
        if cut is not None:
            self._break()
        elif len(body) == size:
            self.server.stored[self.path.partition("?")[0]] = body
            self._answer(201)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, certificate: trustme.LeafCert, host: str) -> None:
        self.pages: dict[str, Page] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        super().__init__((host, 0), _Handler)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self.context)

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        connection.settimeout(60)
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, *_: Any) -> None:
        """Cuts are what it is for."""


class WebServer:
    """An HTTPS server of this process at ``https://localhost:PORT``."""

    def __init__(self, certificate: trustme.LeafCert, authority: Path, host: str = "127.0.0.1") -> None:
        self._server = _Server(certificate, host)
        self.authority = authority
        self.pages, self.stored, self.requests = self._server.pages, self._server.stored, self._server.requests
        self.port = self._server.server_address[1]
        self.origin = f"https://localhost:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def page(self, path: str, data: bytes = b"", **values: Any) -> str:
        """Serve ``data`` at ``path``; its URL."""
        self.pages[path] = Page(data, **values)
        return self.origin + path

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="session")
def _certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.LeafCert, Path]:
    authority = trustme.CA()
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return authority.issue_cert("localhost", "127.0.0.1"), path


@pytest.fixture
def web(_certificate: tuple[trustme.LeafCert, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """A TLS server that this process, and nodes given ``SSL_CERT_FILE``, trust."""
    certificate, authority = _certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    transport._tls.cache_clear()
    monkeypatch.setattr(transport, "_jitter", lambda _: 0.01)
    server = WebServer(certificate, authority)
    yield server
    server.close()
    transport._tls.cache_clear()


@dataclass
class ObjectStore:
    """An S3 of this process. ``client`` is boto3's: it judges what the code under test did."""

    endpoint: str
    client: Any
    environment: dict[str, str]
    bucket: str = "bucket"

    def put(self, key: str, data: bytes) -> str:
        """Make an object; its URL."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)
        return f"s3://{self.bucket}/{key}"

    def get(self, key: str) -> bytes:
        """What is in an object."""
        return bytes(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def keys(self) -> list[str]:
        """Every object there is."""
        return sorted(item["Key"] for item in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", []))

    def uploads(self) -> list[Any]:
        """Uploads in parts that are neither complete nor aborted."""
        return list(self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []))


@pytest.fixture(scope="session")
def _moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(_moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An empty bucket of an S3 on loopback that this process, and nodes given ``environment``, use."""
    environment = {
        "AWS_ENDPOINT_URL": _moto,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=_moto)
    store = ObjectStore(_moto, client, environment)
    client.create_bucket(Bucket=store.bucket)
    yield store
    for key in tuple(store.keys()):
        client.delete_object(Bucket=store.bucket, Key=key)
    for upload in store.uploads():
        client.abort_multipart_upload(Bucket=store.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    client.delete_bucket(Bucket=store.bucket)
    client.close()


def eventually(condition: Any, limit_s: float = 30) -> Any:
    """What ``condition`` answers once it is true; fails when it does not come."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
    return found
