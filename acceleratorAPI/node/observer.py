"""Told by the engine and the HTTP edge what happens; keeps the tally and hands it to tracing, when there is any."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from acceleratorAPI.node.rows import ConfigurationRow, JobRow
from acceleratorAPI.node.tally import Tally
from acceleratorAPI.protocol.status import JobStatus

if TYPE_CHECKING:
    from acceleratorAPI.node.slot import Call
    from acceleratorAPI.node.tracing import Tracing

_RECENT = 20


class Observer:
    """Sees everything, changes nothing.

    Attributes:
        tally: the numbers so far.
        tracing: spans, ``None`` without a place to send them.
        recent: the jobs that ended last, each with its client, the newest first.
    """

    def __init__(self, tracing: Tracing | None = None) -> None:
        """Args:
        tracing: where spans go.
        """
        self.tally = Tally()
        self.tracing = tracing
        self.recent: deque[tuple[str, JobStatus]] = deque(maxlen=_RECENT)

    def worked(self, bytes_in: int, bytes_out: int) -> None:
        """A running job has read and written so many bytes more."""
        self.tally.worked(bytes_in, bytes_out)

    def configured(self, row: ConfigurationRow, call: Call) -> None:
        """A configuration is ready or has failed."""
        if self.tracing is not None:
            self.tracing.configured(row, call)

    def job_ended(self, row: JobRow, call: Call, answer: Mapping[str, Any] | None) -> None:
        """A job has ended, its row says how; ``answer`` is the worker's when it succeeded."""
        tally, function = self.tally, row.accelerator
        tally.jobs[function, row.state] += 1
        tally.minute.add("jobs", 1)
        tally.wait_seconds[function].add(call.waited_s)
        if call.began_ns:
            tally.job_seconds[function].add(call.worked_s)
            tally.input_bytes[function].add(row.bytes_in)
            tally.output_bytes[function].add(row.bytes_out)
        kernel_s = float(answer["kernel_s"]) if answer is not None and row.state == "succeeded" else 0.0
        tally.kernel_seconds[function] += kernel_s
        shown = JobStatus(
            id=str(row.id),
            function=function,
            state=row.state,
            created=row.created,
            ended=row.processed_date,
            input=row.input_name,
            bytes_in=row.bytes_in,
            bytes_total=row.input_bytes,
            bytes_out=row.bytes_out,
            elapsed_s=call.worked_s,
            errorcode=row.errorcode,
        )
        self.recent.appendleft((row.client, shown))
        if self.tracing is not None:
            self.tracing.job_ended(row, call, kernel_s)
