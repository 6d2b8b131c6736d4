"""As much of Google's object store, on loopback, as a client of whole objects needs (JSON API v1)."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from acceleratorAPI.remote import objects


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def _answer(self, status: int, body: Any = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        headers = {"Content-Type": "application/json", **headers, "Content-Length": str(len(data))}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def _record(self, key: str) -> dict[str, Any]:
        data, generation = self.server.objects[key]
        return {
            "kind": "storage#object",
            "name": key,
            "bucket": "bucket",
            "size": str(len(data)),
            "generation": str(generation),
            "updated": "2026-01-01T00:00:00.000Z",
            "timeCreated": "2026-01-01T00:00:00.000Z",
        }

    def _store(self, key: str, data: bytes) -> None:
        self.server.put(key, data)
        self._answer(200, self._record(key))

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        match = re.fullmatch(r"(?:/download)?/storage/v1/b/bucket/o/(.+)", parts.path)
        key = unquote(match[1]) if match else ""
        if key not in self.server.objects:
            self._answer(404, {"error": {"code": 404, "message": "No such object"}})
        elif parse_qs(parts.query).get("alt") == ["media"]:
            data = self.server.objects[key][0]
            span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            self._answer(206 if span else 200, data[int(span[1]) : int(span[2] or len(data)) + 1] if span else data)
        else:
            self._answer(200, self._record(key))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if parts.path.startswith("/session/"):
            self._session(parts.path, body)
        elif query.get("uploadType") == ["resumable"]:
            location = f"/session/{len(self.server.uploads)}-of-this-server"
            self.server.uploads[location] = [query["name"][0], b""]
            self._answer(200, Location=f"{self.server.url}{location}")
        else:
            head, _, rest = body.partition(b"\n\n")[2].partition(b"\n--==0==\n")
            data = rest.partition(b"\n\n")[2].removesuffix(b"\n--==0==--")
            self._store(json.loads(head)["name"], data)

    def _session(self, path: str, body: bytes) -> None:
        upload = self.server.uploads[path]
        upload[1] += body
        if self.headers["Content-Range"].endswith("/*"):
            self._answer(308, Range=f"bytes=0-{len(upload[1]) - 1}")
        else:
            del self.server.uploads[path]
            self._store(*upload)

    def do_DELETE(self) -> None:
        self.server.uploads.pop(urlsplit(self.path).path, None)
        self._answer(499)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.uploads: dict[str, list[Any]] = {}
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def put(self, key: str, data: bytes) -> str:
        """Make an object of the bucket ``bucket``; its URL."""
        self.objects[key] = (data, len(data) + self.objects.get(key, (b"", 0))[1] + 1)
        return f"gs://bucket/{key}"


@pytest.fixture
def gs(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    """A store that this process uses; ``objects`` and ``uploads`` are what it holds."""
    from gcsfs.core import GCSFileSystem

    server = _Server()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    # The package's own choice would first ask Google what kind of bucket it is.
    monkeypatch.setitem(objects._FILE_SYSTEMS, "gs", ("gcsfs.core", "GCSFileSystem", {}))
    GCSFileSystem.clear_instance_cache()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    GCSFileSystem.clear_instance_cache()
    server.shutdown()
    server.server_close()
    thread.join()
