"""OpenTelemetry spans of requests, jobs and configurations, when the environment names a place to send them.

The only module that imports OpenTelemetry (the extra ``otel``), and only then.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING

from acceleratorAPI.node.rows import ConfigurationRow, JobRow

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

    from acceleratorAPI.node.slot import Call

log = logging.getLogger(__name__)

# OpenTelemetry's own names; any of them says that traces are wanted.
_WANTED = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_OTLP = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_FLUSH_S = 2.0


class Tracing:
    """Makes spans with one provider."""

    def __init__(self, provider: TracerProvider) -> None:
        """Args:
        provider: decides what becomes of them.
        """
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer("acceleratorAPI.node", version("acceleratorAPI"))
        # Trace context alone: baggage of strangers is nothing to carry on.
        self._propagator = TraceContextTextMapPropagator()

    @contextlib.contextmanager
    def request(self, method: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """The span of a request, a child of the caller's ``traceparent``; the current one within the block."""
        parent = self._propagator.extract({name: headers[name] for name in self._propagator.fields if name in headers})
        # An exception's text may quote what was sent: the log has it, cleaned, and the span its status.
        with self._tracer.start_as_current_span(
            method, parent, self._trace.SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ) as span:
            span.set_attribute("http.request.method", method)
            yield span

    def answered(self, span: Span, method: str, route: str, status: int) -> None:
        """Complete the span of a request."""
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)

    def configured(self, row: ConfigurationRow, call: Call) -> None:
        """A configuration is over; its span was the time since it was asked for."""
        self._record("configure", row.accelerator, call, row.errorcode, {"acceleratorapi.configuration": row.id})

    def job_ended(self, row: JobRow, call: Call, kernel_s: float) -> None:
        """A job is over; its span was the time since it was queued."""
        about = {
            "acceleratorapi.job": row.id,
            "acceleratorapi.configuration": row.configuration,
            "acceleratorapi.state": row.state,
            "acceleratorapi.bytes_in": row.bytes_in,
            "acceleratorapi.bytes_out": row.bytes_out,
            "acceleratorapi.kernel_s": kernel_s,
        }
        self._record("job", row.accelerator, call, row.errorcode, about)

    def _record(
        self, kind: str, function: str, call: Call, errorcode: str | None, about: Mapping[str, str | int | float]
    ) -> None:
        """The span of a call, and in it that of the worker's part, both of times that are past."""
        attributes = {"acceleratorapi.function": function, **about}
        span = self._tracer.start_span(f"{kind} {function}", attributes=attributes, start_time=call.queued_ns)
        if errorcode is not None:
            span.set_attribute("error.type", errorcode)
            span.set_status(self._trace.StatusCode.ERROR)
        if call.began_ns:
            within = self._trace.set_span_in_context(span)
            phase = "configure" if kind == "configure" else "process"
            work = self._tracer.start_span(f"worker {phase}", within, attributes=attributes, start_time=call.began_ns)
            work.end(call.ended_ns or None)
        span.end()

    def close(self) -> None:
        """Send what is left; a collector that does not answer is not waited for."""
        # Its own shutdown retries for longer than a node takes to end.
        thread = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        thread.start()
        thread.join(_FLUSH_S)


def from_environment() -> Tracing | None:
    """Tracing as the standard ``OTEL_`` variables ask for it, ``None`` when none asks."""
    names = (os.environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(",")
    if not any(os.environ.get(name) for name in _WANTED) or "none" in names or _disabled():
        return None
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("no traces: the environment asks for OpenTelemetry; pip install 'acceleratorAPI[otel]'")
        return None
    # Sampler, limits and resource are read from the environment by the SDK itself.
    resource = Resource.create()
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "acceleratorapi-node"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in names:
        exporter = _exporter(name.strip())
        if exporter is not None:
            provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)


def _disabled() -> bool:
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _exporter(name: str) -> SpanExporter | None:
    """The installed exporter of that name, by OpenTelemetry's own entry points."""
    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        name = _OTLP.get(protocol or "http/protobuf", "otlp_proto_http")
    for point in entry_points(group="opentelemetry_traces_exporter", name=name):
        try:
            return point.load()()  # type: ignore[no-any-return]
        except Exception as error:  # noqa: BLE001 - a foreign plugin may raise anything; the node serves without it
            log.warning("OTEL_TRACES_EXPORTER %r cannot be used: %s", name, error)
            return None
    log.warning("OTEL_TRACES_EXPORTER %r is not installed: its traces go nowhere", name)
    return None
