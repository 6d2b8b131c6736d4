"""The node's URL paths. The historical ones answer with and without the final slash."""

from __future__ import annotations

CONFIGURATION = "/v1.0/configuration/"
PROCESS = "/v1.0/process/"
SCHEMA = "/v1.0/schema/"
STOP = "/v1.0/stop"
FUNCTIONS = "/v2/functions"
FILES = "/v2/files/"
JOBS = "/v2/jobs/"
RUN = "/v2/run"
LEASE = "/v2/lease"
NODE = "/v2/node"
UNSENT_USAGE = "/v2/usage/unsent"
METRICS = "/metrics"
WEB = "/web/"
LIVE = "/health/live"
READY = "/health/ready"
