"""``process`` calls in the background, in a few threads. Small ones that wait go together in one request."""

from __future__ import annotations

import contextvars
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from acceleratorAPI.client.job import Destination, Job, JobGroup, Options, Small
from acceleratorAPI.client.node import Answered
from acceleratorAPI.client.results import ProcessResult
from acceleratorAPI.client.session import Session
from acceleratorAPI.client.small import BATCH_WAIT_S
from acceleratorAPI.client.trace import trace_headers
from acceleratorAPI.client.transfer import Source
from acceleratorAPI.errors import AcceleratorError
from acceleratorAPI.protocol import batch

# How long a small call waits for others while some are under way, as TCP does (RFC 896).
_GATHER_S = 0.001


@dataclass(eq=False)
class _Call:
    """One call of ``process``.

    Attributes:
        small: it may go with others.
        context: of the caller; its trace goes with the job.
        trace: what the trace says in a request.
    """

    job: Job
    options: Options
    small: bool
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    trace: Mapping[str, str] = field(default_factory=trace_headers)
    future: Future[ProcessResult] = field(default_factory=Future)

    def goes_with(self, other: _Call) -> bool:
        """Whether one request can say what both want."""
        return self.small and other.small and self.options == other.options and self.trace == other.trace


class Calls:
    """Calls of one accelerator that end together.

    Attributes:
        group: their jobs.
        pid: of the process whose threads do them.
    """

    def __init__(self, session: Session, workers: int) -> None:
        """Up to ``workers`` at once; a request with several small inputs counts once."""
        self.group = JobGroup(session)
        self.pid = os.getpid()
        self._session = session
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=session.accelerator)
        self._waiting: deque[_Call] = deque()
        self._working = 0
        self._lock = threading.Lock()

    def submit(
        self, src: Source | None, dst: Destination | None, options: Options
    ) -> tuple[Future[ProcessResult], float]:
        """Begin a call when a thread is free: its result to come, and how much of a request it is."""
        try:
            job = Job(self._session, self.group, src, dst)
        except (TypeError, AcceleratorError) as error:
            # It is for whoever asks for the result.
            failed: Future[ProcessResult] = Future()
            failed.set_exception(error)
            return failed, 0.0
        call = _Call(job, options, job.is_little(options))
        with self._lock:
            self._waiting.append(call)
        self._threads.submit(self._work)
        return call.future, 1 / batch.MOST_JOBS if call.small else 1.0

    def end(self, *, cancel: bool) -> None:
        """Wait for all calls; ``cancel``: for none, those under way are given up."""
        if cancel:
            with self._lock:
                waiting, self._waiting = self._waiting, deque()
            for call in waiting:
                call.future.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)
            self.group.cancel()
        self._threads.shutdown()

    def _work(self) -> None:
        """In a thread: the call that waits longest, with those that can go with it."""
        with self._lock:
            gather = self._working > 0 and 0 < len(self._waiting) < batch.MOST_JOBS and self._waiting[0].small
            self._working += 1
        try:
            if gather:
                time.sleep(_GATHER_S)
            self._do(self._take())
        finally:
            with self._lock:
                self._working -= 1

    def _take(self) -> list[_Call]:
        with self._lock:
            calls = [self._waiting.popleft()] if self._waiting else []
            while calls and self._waiting and len(calls) < batch.MOST_JOBS and self._waiting[0].goes_with(calls[0]):
                calls.append(self._waiting.popleft())
        return [call for call in calls if call.future.set_running_or_notify_cancel()]

    def _do(self, calls: list[_Call]) -> None:
        if len(calls) > 1:
            calls[0].context.run(self._together, calls)
        else:
            for call in calls:
                call.context.run(self._alone, call)

    def _alone(self, call: _Call) -> None:
        try:
            call.future.set_result(call.job.run(call.options))
        except BaseException as error:  # noqa: BLE001 - of whoever asks for the result
            call.future.set_exception(error)

    def _together(self, calls: list[_Call]) -> None:
        """All of ``calls`` in one request; those that turn out not to be small, after it."""
        ready: list[tuple[_Call, Small]] = []
        alone: list[_Call] = []
        for call in calls:
            try:
                small = call.job.small(call.options)
            except BaseException as error:  # noqa: BLE001 - as above
                call.future.set_exception(error)
            else:
                ready += [(call, small)] if small is not None else []
                alone += [call] if small is None else []
        if len(ready) == 1:
            alone.insert(0, ready.pop()[0])
        if ready:
            self._send(ready)
        for call in alone:
            self._alone(call)

    def _send(self, ready: list[tuple[_Call, Small]]) -> None:
        wanted = ready[0][1].wanted
        inputs = [(small.wanted.name or "", small.data) for _, small in ready]
        try:
            with ready[0][0].job.told_of_the_end():
                outcomes = self._session.node.run_batch(wanted, inputs, secrets.token_hex(16), BATCH_WAIT_S)
        except BaseException as error:  # noqa: BLE001 - as above
            for call, _ in ready:
                call.future.set_exception(error)
            return
        done: list[tuple[_Call, Answered]] = []
        living: list[tuple[_Call, Answered]] = []
        for (call, _), outcome in zip(ready, outcomes, strict=True):
            if isinstance(outcome, AcceleratorError) or outcome[0].ended:
                # Whoever waits for the results waits for the first: once that is told, all are there.
                done.insert(0, (call, outcome))
            else:
                # Before the first is waited for: all can be cancelled.
                self.group.note(outcome[0].id)
                living.append((call, outcome))
        for call, outcome in [*done, *living]:
            try:
                if isinstance(outcome, AcceleratorError):
                    raise outcome
                call.future.set_result(call.job.conclude(*outcome))
            except BaseException as error:  # noqa: BLE001 - as above
                call.future.set_exception(error)
