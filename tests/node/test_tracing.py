"""Spans of a node: in memory for their shape, from a real node for the way there."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from acceleratorAPI.errors import FunctionFailedError
from acceleratorAPI.node.access import Access
from acceleratorAPI.node.commands import Configure, Process
from acceleratorAPI.node.observer import Observer
from acceleratorAPI.node.rows import ConfigurationRow, JobRow
from acceleratorAPI.node.slot import Call
from acceleratorAPI.node.tracing import Tracing, from_environment

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def memory() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def observer(memory: InMemorySpanExporter) -> Iterator[Observer]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    found = Observer(Tracing(provider))
    yield found
    found.tracing.close()  # type: ignore[union-attr]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


def by_name(spans: tuple[ReadableSpan, ...]) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans}


def worked(command: Configure | Process) -> Call:
    """A call that has been through a worker."""
    call = Call(command)
    call.queued_ns, call.began_ns, call.ended_ns = 1_000, 2_000, 5_000
    return call


CONFIGURE = Configure("1", "test_copy", {"password": "hush-hush"}, None, "scratch")


async def ask(observer: Observer, status: int, headers: dict[str, str], work: Any) -> None:
    """One request through the outermost layer, answered with ``status`` after ``work``."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        work()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"answer"})

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Any) -> None:
        pass

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/v1.0/process/1", "headers": raw, "query_string": b"token=no"}
    await Access(app, observer, log_requests=False)(scope, receive, send)


def test_a_job_hangs_on_its_request_which_hangs_on_the_callers_span(
    observer: Observer, memory: InMemorySpanExporter
) -> None:
    def work() -> None:
        row = JobRow(3, "test_copy", "2026-01-01", "{}", state="succeeded", bytes_in=7, bytes_out=8, id=5)
        call = worked(Process("1", CONFIGURE, {"token": "hush-hush"}, None, None, True))
        observer.job_ended(row, call, {"kernel_s": 0.25})

    asyncio.run(ask(observer, 200, {"traceparent": PARENT}, work))
    spans = by_name(memory.get_finished_spans())
    request, job, worker = (spans[name] for name in ("POST (none)", "job test_copy", "worker process"))
    assert f"{request.parent.span_id:x}" == PARENT.split("-")[2]  # type: ignore[union-attr]
    assert job.parent.span_id == request.context.span_id  # type: ignore[union-attr]
    assert worker.parent.span_id == job.context.span_id  # type: ignore[union-attr]
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {PARENT.split("-")[1]}
    assert request.kind.name == "SERVER"
    assert request.attributes["http.response.status_code"] == 200  # type: ignore[index]
    assert (job.start_time, worker.start_time, worker.end_time) == (1_000, 2_000, 5_000)
    assert dict(job.attributes or {}) == {
        "acceleratorapi.function": "test_copy",
        "acceleratorapi.job": 5,
        "acceleratorapi.configuration": 3,
        "acceleratorapi.state": "succeeded",
        "acceleratorapi.bytes_in": 7,
        "acceleratorapi.bytes_out": 8,
        "acceleratorapi.kernel_s": 0.25,
    }
    everything = "".join(span.to_json() for span in spans.values())
    assert "hush-hush" not in everything
    assert "token" not in everything


def test_a_failure_is_marked(observer: Observer, memory: InMemorySpanExporter) -> None:
    def work() -> None:
        code = FunctionFailedError.code
        row = ConfigurationRow("test_copy", "2026-01-01", "{}", "{}", inerror=True, errorcode=code, id=2)
        observer.configured(row, worked(CONFIGURE))

    asyncio.run(ask(observer, 500, {}, work))
    spans = by_name(memory.get_finished_spans())
    assert set(spans) == {"POST (none)", "configure test_copy", "worker configure"}
    assert spans["configure test_copy"].status.status_code is StatusCode.ERROR
    assert spans["configure test_copy"].attributes["error.type"] == "function-failed"  # type: ignore[index]
    assert spans["POST (none)"].status.status_code is StatusCode.ERROR
    assert spans["POST (none)"].parent is None


def test_a_job_that_never_began_has_no_worker_span(observer: Observer, memory: InMemorySpanExporter) -> None:
    async def cancelled() -> None:
        call = Call(CONFIGURE)
        observer.job_ended(JobRow(1, "test_copy", "", "", state="cancelled", errorcode="cancelled"), call, None)

    asyncio.run(cancelled())
    (span,) = memory.get_finished_spans()
    assert span.name == "job test_copy"


@pytest.mark.parametrize(
    "settings", [{}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}]
)
def test_nothing_asks_for_traces(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert from_environment() is None


# FastAPI brings and loads OpenTelemetry's API (without the SDK it does nothing); we load nothing of it ourselves.
@pytest.mark.parametrize(
    ("code", "foreign"),
    [
        ("import acceleratorAPI.node.serve", ("opentelemetry.sdk", "opentelemetry.exporter", "prometheus_client")),
        ("import acceleratorAPI.node.observer", ("opentelemetry", "prometheus_client")),
        ("from acceleratorAPI.node.tracing import from_environment as f; assert f() is None", ("opentelemetry",)),
        ("from acceleratorAPI.client.trace import trace_headers as f; assert f() == {}", ("opentelemetry",)),
        ("import acceleratorAPI.client.accelerator", ("opentelemetry",)),
    ],
)
def test_without_a_setting_nothing_is_imported(code: str, foreign: tuple[str, ...]) -> None:
    code = f"import sys; {code}\nprint([name for name in sys.modules if name.startswith({foreign!r})])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_exporter_is_said_and_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    found = from_environment()
    assert found is not None
    found.close()
    assert "'carrier-pigeon' is not installed" in caplog.text


def test_the_missing_extra_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    assert from_environment() is None
    assert "pip install 'acceleratorAPI[otel]'" in caplog.text


def test_a_real_node_sends_them(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    node = nodes("--slots", "1")
    headers = {"traceparent": PARENT, "Content-Type": "multipart/form-data; boundary=b"}
    node.configure("test_copy")
    body = b'--b\r\nContent-Disposition: form-data; name="datafile"; filename="x"\r\n\r\nabc\r\n--b--\r\n'
    node.ended(node.request("POST", "/v1.0/process/", body, headers).json)
    assert node.end() == 0
    # The console exporter writes indented objects to standard output, which the test's node shares with its log.
    found = [json.loads(text) for text in re.findall(r"^\{\n.*?^\}", node.log, re.MULTILINE | re.DOTALL)]
    ours = {span["name"]: span for span in found if span["context"]["trace_id"] == f"0x{PARENT.split('-')[1]}"}
    assert set(ours) == {"POST /v1.0/process", "job test_copy", "worker process"}
    assert ours["worker process"]["parent_id"] == ours["job test_copy"]["context"]["span_id"]
    assert ours["job test_copy"]["parent_id"] == ours["POST /v1.0/process"]["context"]["span_id"]
    assert {span["resource"]["attributes"]["service.name"] for span in found} == {"acceleratorapi-node"}
    assert {"configure test_copy", "worker configure"} <= {span["name"] for span in found}


def test_a_collector_that_does_not_answer_does_not_hold_up_the_end(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    node = nodes("--slots", "1")
    node.ended(node.send(node.configure("test_copy"), b"abc"))
    assert node.end() == 0


def test_the_client_passes_the_active_span_on() -> None:
    from opentelemetry import trace

    from acceleratorAPI.client.trace import trace_headers

    provider = TracerProvider(shutdown_on_exit=False)
    assert trace_headers() == {}
    with trace.use_span(provider.get_tracer("test").start_span("mine"), end_on_exit=True) as span:
        context = span.get_span_context()
        assert re.fullmatch(f"00-{context.trace_id:032x}-{context.span_id:016x}-0[13]", trace_headers()["traceparent"])
