"""``/metrics``: the tally and the status in Prometheus' words. The families are data; docs and tests read them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from acceleratorAPI.node.tally import Histogram, Tally
from acceleratorAPI.protocol.status import NodeStatus

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Sample = tuple[tuple[str, ...], float | Histogram]


@dataclass(frozen=True)
class Snapshot:
    """What there is to read.

    Attributes:
        live: how many jobs have not ended, by function and state.
    """

    tally: Tally
    status: NodeStatus
    live: Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class Family:
    """One metric: its name, what it is, and where its values come from."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    read: Callable[[Snapshot], Iterable[Sample]]


def _one(value: Callable[[Snapshot], float]) -> Callable[[Snapshot], Iterable[Sample]]:
    """A family without labels."""
    return lambda now: [((), value(now))]


def _by_function(values: Callable[[Tally], Mapping[str, float | Histogram]]) -> Callable[[Snapshot], Iterable[Sample]]:
    return lambda now: [((function,), value) for function, value in sorted(values(now.tally).items())]


def _busy(status: NodeStatus) -> int:
    return sum(slot.state in ("running", "configuring") for slot in status.slots)


FAMILIES = (
    Family("acceleratorapi_build_info", "gauge", ("version", "python"), "Always 1; the labels say what runs.",
           lambda now: [((now.status.version, platform.python_version()), 1.0)]),
    Family("acceleratorapi_start_time_seconds", "gauge", (), "When the node started, in seconds since 1970.",
           _one(lambda now: now.tally.started)),
    Family("acceleratorapi_jobs_live", "gauge", ("function", "state"), "Jobs that are queued or running now.",
           lambda now: sorted(now.live.items())),
    Family("acceleratorapi_jobs_total", "counter", ("function", "state"), "Jobs that ended, and how.",
           lambda now: sorted(now.tally.jobs.items())),
    Family("acceleratorapi_job_duration_seconds", "histogram", ("function",), "Time of a job in its worker.",
           _by_function(lambda tally: tally.job_seconds)),
    Family("acceleratorapi_job_wait_seconds", "histogram", ("function",), "Time of a job in the queue.",
           _by_function(lambda tally: tally.wait_seconds)),
    Family("acceleratorapi_job_kernel_seconds_total", "counter", ("function",), "Kernel time of jobs that succeeded.",
           _by_function(lambda tally: tally.kernel_seconds)),
    Family("acceleratorapi_job_input_bytes", "histogram", ("function",), "Bytes a job read.",
           _by_function(lambda tally: tally.input_bytes)),
    Family("acceleratorapi_job_output_bytes", "histogram", ("function",), "Bytes a job wrote.",
           _by_function(lambda tally: tally.output_bytes)),
    Family("acceleratorapi_queue_length", "gauge", (), "Jobs that wait for a slot.",
           _one(lambda now: now.status.queue.waiting)),
    Family("acceleratorapi_queue_limit", "gauge", (), "Jobs that may wait.",
           _one(lambda now: now.status.queue.limit)),
    Family("acceleratorapi_slots", "gauge", (), "Jobs that can run at once.",
           _one(lambda now: len(now.status.slots))),
    Family("acceleratorapi_slots_busy", "gauge", (), "Slots that run a job or a configuration.",
           _one(lambda now: _busy(now.status))),
    Family("acceleratorapi_worker_crashes_total", "counter", (), "Worker processes that died at work.",
           _one(lambda now: now.status.totals.worker_crashes)),
    Family("acceleratorapi_http_requests_total", "counter", ("route", "method", "status"), "Requests answered.",
           lambda now: sorted(now.tally.requests.items())),
    Family("acceleratorapi_http_request_duration_seconds", "histogram", ("route", "method"),
           "Time from a request's head to its answer's last byte.",
           lambda now: sorted(now.tally.request_seconds.items())),
    Family("acceleratorapi_http_received_bytes_total", "counter", (), "Bytes of request bodies.",
           _one(lambda now: now.tally.received)),
    Family("acceleratorapi_http_sent_bytes_total", "counter", (), "Bytes of answers' bodies.",
           _one(lambda now: now.tally.sent)),
    Family("acceleratorapi_uploads_open", "gauge", (), "Request bodies on their way in.",
           _one(lambda now: now.tally.uploads)),
    Family("acceleratorapi_spool_files", "gauge", (), "Files in the spool.",
           _one(lambda now: now.status.spool.files)),
    Family("acceleratorapi_spool_used_bytes", "gauge", (), "Disk space of the spool's files.",
           _one(lambda now: now.status.spool.used_bytes)),
    Family("acceleratorapi_spool_free_bytes", "gauge", (), "Free space of the spool's disk.",
           _one(lambda now: now.status.spool.free_bytes)),
    Family("acceleratorapi_process_cpu_seconds_total", "counter", ("process",), "Time on processors.",
           lambda now: [((use.name,), use.cpu_s) for use in now.status.processes]),
    Family("acceleratorapi_process_resident_memory_bytes", "gauge", ("process",), "Memory in use.",
           lambda now: [((use.name,), use.rss_bytes) for use in now.status.processes]),
)  # fmt: skip


def exposition(now: Snapshot, accept: str) -> tuple[bytes, str]:
    """All families in the format a scraper's ``Accept`` asks for, and its media type."""
    # Here and not above: a node nobody scrapes needs none of it.
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(now))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _Collector:
    """What the library calls back."""

    def __init__(self, now: Snapshot) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
        for family in FAMILIES:
            metric = kinds[family.kind](family.name, family.help, labels=family.labels)
            for labels, value in family.read(self._now):
                if isinstance(value, Histogram):
                    buckets = [("+Inf" if bound == float("inf") else str(bound), n) for bound, n in value.cumulative]
                    metric.add_metric(labels, buckets, sum_value=value.sum)
                else:
                    metric.add_metric(labels, value)
            yield metric
