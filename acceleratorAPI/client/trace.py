"""The caller's OpenTelemetry trace, for the headers of requests. Nothing is imported that the program has not."""

from __future__ import annotations

import sys


def trace_headers() -> dict[str, str]:
    """``traceparent`` and ``tracestate`` (W3C) of the active span; empty without one."""
    # A program with an active span has loaded the API; any other pays one look-up.
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers
