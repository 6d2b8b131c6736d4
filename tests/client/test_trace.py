"""The caller's trace reaches the node, from whatever thread a job is sent."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from acceleratorAPI import Accelerator
from acceleratorAPI.client.node import NodeClient


@pytest.fixture
def seen() -> Iterator[tuple[str, list[Any]]]:
    """The URL of a server that answers ``[]``, and the headers it got."""
    headers: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers.append(self.headers)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", headers
        server.shutdown()
        thread.join()


def test_a_request_says_whose_span_it_belongs_to(seen: tuple[str, list[Any]]) -> None:
    url, headers = seen
    node = NodeClient(url)
    node.catalogue()
    span = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("mine")
    with trace.use_span(span, end_on_exit=True):
        node.catalogue()
    node.close()
    assert "traceparent" not in headers[0]
    assert f"{span.get_span_context().trace_id:032x}" in headers[1]["traceparent"]


@pytest.mark.parametrize("way", ["process", "process_submit", "process_map"])
def test_every_way_to_send_a_job_does(gzipper: Accelerator, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    sent: list[dict[str, str]] = []
    node = NodeClient
    original = node._request

    def request(self: NodeClient, method: str, path: str, **more: Any) -> Any:
        from acceleratorAPI.client.trace import trace_headers

        sent.append(trace_headers())
        return original(self, method, path, **more)

    monkeypatch.setattr(node, "_request", request)
    span = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("mine")
    with trace.use_span(span, end_on_exit=True):
        if way == "process":
            gzipper.process(b"abc")
        elif way == "process_submit":
            gzipper.process_submit(b"abc").result()
        else:
            list(gzipper.process_map([b"abc", b"def"]))
    assert sent
    assert all(f"{span.get_span_context().trace_id:032x}" in headers.get("traceparent", "") for headers in sent)
