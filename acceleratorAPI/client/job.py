"""One ``process`` call: check, hand over, follow, fetch. A failed or interrupted one leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Any, BinaryIO

from acceleratorAPI.client.node import POLL_S
from acceleratorAPI.client.results import Phase, ProcessResult, TransferProgress
from acceleratorAPI.client.session import Session
from acceleratorAPI.client.transfer import Input, Output, receive
from acceleratorAPI.errors import (
    FileAccessError,
    InputError,
    JobCancelledError,
    NodeUnreachableError,
    NotFoundError,
    StateError,
)
from acceleratorAPI.files import access_error, replacing
from acceleratorAPI.protocol.records import App, ProcessRecord

Destination = str | os.PathLike[str] | BinaryIO
OnProgress = Callable[[TransferProgress], None]

# How often a callback hears of the node's work.
_TELL_EVERY_S = 0.5


class JobGroup:
    """Jobs that are cancelled together, those still on their way to the node included."""

    def __init__(self, session: Session) -> None:
        """An empty group of this process's jobs."""
        self.cancelled = False
        self.pid = os.getpid()
        self._session = session
        self._running: set[str] = set()
        self._lock = threading.Lock()

    def check(self) -> None:
        """Go on?

        Raises:
            JobCancelledError: the group was cancelled.
        """
        if self.cancelled:
            raise JobCancelledError("the job was cancelled")

    def add(self, job_id: str) -> None:
        """The node has the job; see ``check``."""
        with self._lock:
            self.check()
            self._running.add(job_id)

    def drop(self, job_id: str) -> None:
        """The job is over: the node need not keep it."""
        with self._lock:
            self._running.discard(job_id)
        self._session.drop_job(job_id)

    def cancel(self) -> None:
        """End all there are, and let none begin."""
        with self._lock:
            self.cancelled = True
            running = list(self._running)
        for job_id in running:
            self._session.drop_job(job_id)


class Job:
    """What goes in, what comes out, and the calls between."""

    def __init__(
        self, session: Session, group: JobGroup, source: Input | None, destination: Destination | None
    ) -> None:
        """Take both ends; ``run`` checks them."""
        self._session = session
        self._group = group
        self._source = source
        self._destination = destination
        self._path = os.path.abspath(destination) if isinstance(destination, (str, os.PathLike)) else None
        self._tell: OnProgress | None = None
        if destination is not None and self._path is None and not callable(getattr(destination, "write", None)):
            raise TypeError(f"dst: expected a path or an open binary file, not {type(destination).__name__}")

    def run(self, parameters: Mapping[str, Any], progress: OnProgress | None, shared: bool) -> ProcessResult:
        """Do it all.

        Args:
            parameters: of the function.
            progress: told of the way the job makes; it runs in the calling thread.
            shared: the node may use the files in place.

        Raises:
            InputError: an end cannot be used; found before anything is sent.
            JobError: the job failed.
            NodeError: the node failed.
        """
        started = time.perf_counter()
        self._group.check()
        self._check()
        self._tell = progress
        record = self._submit(parameters, shared)
        try:
            self._group.add(record.id)
            record = self._follow(record)
            data = self._fetch(record)
        except (NodeUnreachableError, NotFoundError) as error:
            self._group.check()
            if self._session.ended:
                raise JobCancelledError("the accelerator was stopped while the job ran") from error
            raise
        finally:
            self._group.drop(record.id)
        return self._result(record, data, time.perf_counter() - started)

    def _check(self) -> None:
        card = self._session.card
        name = card.get("name", "the function")
        if self._source is None and card.get("input") == "required":
            raise InputError(f"{name} needs an input file")
        if self._source is not None and card.get("input") == "none":
            raise InputError(f"{name} takes no input file")
        if self._destination is not None and card.get("output") == "none":
            raise InputError(f"{name} gives no output file; its answer is in the result")
        if self._source is not None:
            self._source.check(folder=bool(card.get("folder")))
        if self._path is not None:
            _check_output(os.fspath(self._destination), self._path)  # type: ignore[arg-type]  # a path, as _path says
            if self._source is not None and self._source.path is not None:
                _check_apart(self._source.path, self._path)

    def _submit(self, parameters: Mapping[str, Any], shared: bool) -> ProcessRecord:
        configuration = self._session.configuration
        if configuration is None:
            raise StateError("process before start: call start() first")
        app = json.dumps({"app": {"specific": dict(parameters)}})
        fields = {"parameters": app, "configuration": configuration.url}
        upload = self._source
        if shared:
            source = self._source
            if source is not None and source.path is not None and (source.is_regular_file or source.is_folder):
                fields["source"] = source.path
                upload = None
            if self._path is not None and (os.path.isfile(self._path) or not os.path.exists(self._path)):
                fields["target"] = self._path
        if upload is not None and upload.is_folder:
            fields["folder"] = "1"
        return self._session.node.submit(fields, upload, lambda done, total: self._report("upload", done, total))

    def _follow(self, record: ProcessRecord) -> ProcessRecord:
        wait_s = POLL_S if self._tell is None else _TELL_EVERY_S
        while not record.processed:
            record = self._session.node.job(record.id, wait_s)
            self._report("compute", record.progress.bytes_in, record.progress.bytes_total)
        return record

    def _fetch(self, record: ProcessRecord) -> bytes | None:
        """The output to where it belongs, or as bytes."""
        if record.datafileresult is None:
            return None
        memory = BytesIO() if self._destination is None else None
        try:
            with self._session.node.result(record.datafileresult) as answer, self._target(memory) as target:
                length = answer.headers.get("Content-Length", "")
                expected = int(length) if length.isdecimal() else record.progress.bytes_out
                receive(answer, target, expected, lambda done, total: self._report("download", done, total))
        except OSError as error:
            raise access_error("write", _destination_name(self._destination), error) from error
        return memory.getvalue() if memory is not None else None

    @contextlib.contextmanager
    def _target(self, memory: BytesIO | None) -> Iterator[Output]:
        if memory is not None:
            yield memory
        elif self._path is not None:
            with replacing(self._path) as file:
                yield file
        else:
            yield self._destination  # type: ignore[misc]  # neither None nor a path: an open file

    def _report(self, phase: Phase, done: int, total: int | None) -> None:
        self._group.check()
        if self._tell is not None:
            self._tell(TransferProgress(self._source.name if self._source else "", phase, done, total))

    def _result(self, record: ProcessRecord, data: bytes | None, elapsed_s: float) -> ProcessResult:
        app = record.parametersresult.app if record.parametersresult else App(status=0, msg="")
        profiling = app.profiling
        return ProcessResult(
            accelerator=self._session.accelerator,
            source=self._source.name if self._source else "",
            destination=_destination_name(self._destination) if self._gave_output(record) else "",
            bytes_in=record.progress.bytes_in,
            bytes_out=record.progress.bytes_out,
            backend=str(profiling.get("backend", "")),
            kernel_s=float(profiling.get("kernel-time", profiling.get("fpga-elapsed-time", 0.0))),
            elapsed_s=elapsed_s,
            specific=app.specific,
            profiling=profiling,
            message=app.msg,
            data=data,
        )

    def _gave_output(self, record: ProcessRecord) -> bool:
        """Of a function whose output is optional, only a job that wrote something did."""
        return self._session.card.get("output") != "optional" or record.progress.bytes_out > 0


def _check_output(shown: str, path: str) -> None:
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise FileAccessError(f"cannot write {shown!r}: the folder {folder!r} does not exist")
    if os.path.isdir(path):
        raise FileAccessError(f"cannot write {shown!r}: it is a folder; name a file in it")
    if os.path.exists(path):
        if not os.access(path, os.W_OK):
            raise FileAccessError(f"cannot write {shown!r}: the file is read-only")
        if not os.path.isfile(path):
            return
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FileAccessError(f"cannot write {shown!r}: the folder {folder!r} is read-only")


def _check_apart(source: str, destination: str) -> None:
    real, folder = os.path.realpath(destination), os.path.realpath(source)
    if os.path.isdir(folder) and os.path.commonpath([folder, real]) == folder:
        raise InputError(f"the output {destination!r} lies in the input folder: name one outside of it")
    try:
        # A terminal or /dev/null may well be both.
        same = os.path.samefile(source, destination) and os.path.isfile(source)
    except OSError:
        return
    if same:
        raise InputError(f"input and output are the same file {destination!r}: name another output")


def _destination_name(destination: Destination | None) -> str:
    if destination is None:
        return ""
    if isinstance(destination, (str, os.PathLike)):
        return os.fspath(destination)
    name = getattr(destination, "name", None)
    return name if isinstance(name, str) else "file"
