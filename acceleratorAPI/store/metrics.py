"""What the store counts for Prometheus, since its start."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

REGISTRY = CollectorRegistry()
REQUESTS = Counter("store_requests", "Requests answered.", ("method", "route", "status"), registry=REGISTRY)
SECONDS = Histogram("store_request_seconds", "How long requests took.", ("route",), registry=REGISTRY)
EVENTS = Counter("store_usage_events", "Usage events received.", ("outcome",), registry=REGISTRY)
TOKENS = Counter("store_tokens", "Answers of the token endpoint.", ("status",), registry=REGISTRY)
