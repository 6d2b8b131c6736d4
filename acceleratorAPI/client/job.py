"""One ``process`` call: check, send, follow, fetch. A failed or interrupted one leaves nothing behind."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from io import BytesIO, FileIO
from typing import Any, BinaryIO, NamedTuple

from acceleratorAPI.client.fetch import Fetch, Sink
from acceleratorAPI.client.keep import Call, Keep
from acceleratorAPI.client.node import POLL_S, succeeded
from acceleratorAPI.client.pace import connections
from acceleratorAPI.client.results import Phase, ProcessResult, TransferProgress
from acceleratorAPI.client.resume import Resumption, the_call
from acceleratorAPI.client.retry import Backoff
from acceleratorAPI.client.session import Session
from acceleratorAPI.client.small import LITTLE_BYTES, RUN_WAIT_S, is_small, read_whole
from acceleratorAPI.client.transfer import Input, Source, write_all
from acceleratorAPI.client.upload import Upload
from acceleratorAPI.errors import (
    FileAccessError,
    InputError,
    JobCancelledError,
    NodeBusyError,
    NodeUnreachableError,
    NotFoundError,
    StateError,
)
from acceleratorAPI.files import access_error, mode_of, replacing
from acceleratorAPI.protocol.records import App, JobRecord, JobRequest, Progress
from acceleratorAPI.remote import access, names

Destination = str | os.PathLike[str] | BinaryIO
OnProgress = Callable[[TransferProgress], None]

# How often a callback hears of the node's work.
_TELL_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """How a job is to be done.

    Attributes:
        parameters: of the function.
        progress: told of the way the job makes; it runs in the job's thread.
        shared: the node may use the files in place.
        node_opens_urls: the node, not this program, is to read and write URLs.
        connections: how many to use for one file; ``None``: as many as help.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    progress: OnProgress | None = None
    shared: bool = False
    node_opens_urls: bool = False
    connections: int | None = None


class Small(NamedTuple):
    """A job that one request can hold, its input included."""

    wanted: JobRequest
    data: bytes


class JobGroup:
    """Jobs that are cancelled together, those still on their way to the node included."""

    def __init__(self, session: Session) -> None:
        """An empty group of this process's jobs."""
        self.cancelled = False
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

    def note(self, job_id: str) -> None:
        """The node has the job, which is seen to later: until then, ``cancel`` ends it."""
        with self._lock:
            self._running.add(job_id)

    def forget(self, job_id: str) -> None:
        """The job is over."""
        with self._lock:
            self._running.discard(job_id)

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
        self, session: Session, group: JobGroup, source: Source | None, destination: Destination | None
    ) -> None:
        """Take both ends; ``run`` checks them.

        Raises:
            TypeError: one is nothing that can be an end.
            InputError: it is a URL that cannot be used.
        """
        self._session = session
        self._group = group
        self._source = Input(source) if source is not None else None
        self._destination = destination
        self._path: str | None = None
        self._real = ""
        self._remote: names.Remote | None = None
        if isinstance(destination, (str, os.PathLike)):
            text = os.fspath(destination)
            local = names.file_path(text)
            if local is None and names.is_url(text):
                self._remote = names.parse(text)
            else:
                self._path = os.path.abspath(local or text)
        self._options = Options()
        self._tell: OnProgress | None = None
        self._received = 0
        self._started = time.perf_counter()
        self._stopped = False
        self._fetching: Future[bytes | None] | None = None
        self._fetch_now: Fetch | None = None
        named = self._path is not None or self._remote is not None
        if destination is not None and not named and not callable(getattr(destination, "write", None)):
            raise TypeError(f"dst: expected a path or an open binary file, not {type(destination).__name__}")

    def is_little(self, options: Options) -> bool:
        """Whether the input is to travel with the request, perhaps with others, also to a node that sees the file."""
        size_bytes = self._source.size_bytes if self._source is not None else None
        if size_bytes is None or size_bytes > LITTLE_BYTES or options.progress is not None:
            return False
        # A function that takes folders may keep more of a file than its bytes.
        return not (options.shared and self._session.card.get("folder"))

    def run(self, options: Options) -> ProcessResult:
        """Do it all.

        Raises:
            InputError: an end cannot be used; found before anything is sent.
            JobError: the job failed.
            NodeError: the node failed.
        """
        self._begin(options)
        with self.told_of_the_end():
            return self._result(*self._work())

    def small(self, options: Options) -> Small | None:
        """The job with its input, when that is still little and nothing is to be gone on with.

        What the node answers to it is for ``conclude``; otherwise ``run`` is to be called.

        Raises:
            InputError: as ``run``.
        """
        self._begin(options)
        wanted, source = self._wanted()
        if source is None or (self._path is not None and Keep.left(self._real)):
            return None
        reader, size_bytes = source.open()
        try:
            if size_bytes is None or size_bytes > LITTLE_BYTES or not is_small(wanted, size_bytes):
                return None
            return Small(wanted, read_whole(reader, size_bytes))
        finally:
            source.close(reader)

    def conclude(self, record: JobRecord, output: bytes | None) -> ProcessResult:
        """What is left to do of a ``small`` job, once the node has answered.

        Raises:
            JobError: it failed.
            NodeError: the node failed.
        """
        self._resumption = Resumption(self._session, None, None)
        with self.told_of_the_end():
            return self._result(*self._answered(record, output))

    @contextlib.contextmanager
    def told_of_the_end(self) -> Iterator[None]:
        """A node that is gone because it was ended is no error of its own."""
        try:
            yield
        except (NodeUnreachableError, NotFoundError) as error:
            self._group.check()
            if self._session.ended:
                raise JobCancelledError("the accelerator was stopped while the job ran") from error
            raise

    def _begin(self, options: Options) -> None:
        self._started = time.perf_counter()
        self._group.check()
        self._options = options
        self._check()
        self._tell = options.progress

    def _check(self) -> None:
        card = self._session.card
        name = card.get("name", "the function")
        if self._source is None and card.get("input") == "required":
            raise InputError(f"{name} needs an input file")
        if self._source is not None and card.get("input") == "none":
            raise InputError(f"{name} takes no input file")
        if self._destination is not None and card.get("output") == "none":
            raise InputError(f"{name} gives no output file; its answer is in the result")
        if self._source is not None and not (self._options.node_opens_urls and self._source.url):
            self._source.check(folder=bool(card.get("folder")))
        if self._remote is not None:
            if not self._options.node_opens_urls:
                access.check(self._remote)
            if self._source is not None and self._source.url == self._destination:
                raise InputError(f"input and output are the same {self._source.name!r}: name another output")
        if self._path is not None:
            self._real = os.path.realpath(self._path)
            _check_output(os.fspath(self._destination), self._real)  # type: ignore[arg-type]  # a path, as _path says
            if self._source is not None and self._source.path is not None:
                _check_apart(self._source.path, self._path)

    def _work(self) -> tuple[JobRecord, bytes | None]:
        """Upload, job and fetch, each going on while the one before it does."""
        wanted, source = self._wanted()
        session, node = self._session, self._session.node
        with contextlib.ExitStack() as stack:
            reader, size_bytes = source.open() if source is not None else (None, None)
            if source is not None and reader is not None:
                stack.callback(source.close, reader)
            self._resumption = resume = Resumption(session, self._the_call(wanted, source), self._path)
            stack.push(resume.end)
            resume.begin(size_bytes)
            if reader is not None and resume.keep is None and self._tell is None and is_small(wanted, size_bytes):
                return self._in_one_request(wanted, read_whole(reader, size_bytes or 0))

            def new_upload() -> Upload:
                assert reader is not None
                several = self._several(size_bytes or 0) if source is not None and source.is_regular_file else 1
                tell = functools.partial(self._report, "upload", total=size_bytes)
                upload = Upload(node, reader, size_bytes, tell, several)
                stack.push(resume.unless_left(lambda: session.drop_upload(upload)))
                return upload

            found = resume.take_up(wanted, new_upload, reader)
            if found is None:
                upload = new_upload() if source is not None else None
                if upload is not None:
                    upload.begin()
                    wanted.upload = upload.url
                    resume.note_upload(upload)
                # Its id is asked for at once: a job is cancelled by it.
                found = upload, node.begin_job(wanted, resume.key)
            upload, record = found
            stack.push(resume.unless_left(lambda: session.drop_job(record.id)))
            stack.callback(self._group.forget, record.id)
            self._group.add(record.id)
            resume.note_job(record, upload)
            if wanted.target is None and session.card.get("output") == "required" and not record.ended:
                return self._overlapped(record, upload)
            if upload is not None:
                self._send_rest(upload, record)
            record = self._follow(record)
            if record.result is None:
                return record, None
            data = self._fetch(record.id, record)
            self._report("download", self._received, self._received)
            return record, data

    def _the_call(self, wanted: JobRequest, source: Input | None) -> Call | None:
        """What a later process would know this call by, if its output is a file's."""
        plain = self._path is not None and (os.path.isfile(self._path) or not os.path.lexists(self._path))
        return the_call(self._session, wanted, source) if plain else None

    def _several(self, size_bytes: int) -> int:
        """How many connections to use for so many bytes."""
        return connections(self._session.node.url, size_bytes, self._options.connections)

    def _in_one_request(self, wanted: JobRequest, data: bytes) -> tuple[JobRecord, bytes | None]:
        """A small input with the request, and a small output with its answer."""
        return self._answered(*self._session.node.run(wanted, data, self._resumption.key, RUN_WAIT_S))

    def _answered(self, record: JobRecord, output: bytes | None) -> tuple[JobRecord, bytes | None]:
        """A small output to where it belongs; without one, on as any job."""
        if output is None:
            return self._rest(record)
        self._group.check()
        if self._destination is None:
            return record, output
        with self._written(), self._sink(None) as sink:
            write_all(sink.target, output)
        return record, None

    def _rest(self, record: JobRecord) -> tuple[JobRecord, bytes | None]:
        """What is left to do of a job that has its input."""
        with contextlib.ExitStack() as stack:
            if not record.ended or record.result is not None:
                stack.callback(self._session.drop_job, record.id)
                stack.callback(self._group.forget, record.id)
                self._group.add(record.id)
            record = self._follow(record)
            return record, self._fetch(record.id, record) if record.result is not None else None

    def _wanted(self) -> tuple[JobRequest, Input | None]:
        """What to ask the node for, and the input that must be sent."""
        configuration, options = self._session.configuration, self._options
        if configuration is None:
            raise StateError("process before start: call start() first")
        wanted = JobRequest(configuration=configuration.url, parameters=dict(options.parameters))
        source = self._source
        if options.node_opens_urls:
            if source is not None and source.url is not None:
                wanted.source = source.url
                source = None
            if self._remote is not None:
                wanted.target = os.fspath(self._destination)  # type: ignore[arg-type]  # a text, as _remote says
        if options.shared and not self.is_little(options):
            if source is not None and source.path is not None and (source.is_regular_file or source.is_folder):
                wanted.source = source.path
                source = None
            if self._path is not None and (os.path.isfile(self._path) or not os.path.exists(self._path)):
                wanted.target = self._path
        if source is not None:
            wanted.name = os.path.basename(os.path.normpath(source.name))
            wanted.folder = source.is_folder
        return wanted, source

    def _overlapped(self, record: JobRecord, upload: Upload | None) -> tuple[JobRecord, bytes | None]:
        """Fetch in a thread of its own while the calling one sends; both end before this does."""
        with ThreadPoolExecutor(1, thread_name_prefix="fetch") as threads:
            self._fetching = fetching = threads.submit(self._fetch, record.id, None)
            try:
                if upload is not None:
                    self._send_rest(upload, record)
                # Who knows that the job has ended may take the rest of its output over several connections.
                asks = self._tell is not None or self._several(sys.maxsize) > 1
                while not fetching.done():
                    if asks and not record.ended:
                        record = self._ask(record.id, _TELL_EVERY_S)
                        self._report_node(record.progress)
                        if record.ended and self._fetch_now is not None:
                            self._fetch_now.record = record
                    else:
                        wait([fetching], _TELL_EVERY_S)
                    self._report("download", self._received, None)
            except BaseException as error:
                self._stopped = True
                if not self._resumption.leaves(error):
                    # Without its job the fetch ends, too.
                    self._session.drop_job(record.id)
                raise
        data = fetching.result()
        record = self._follow(record)
        self._report("download", self._received, self._received)
        return record, data

    def _send_rest(self, upload: Upload, record: JobRecord) -> None:
        try:
            upload.finish()
        except NotFoundError:
            # The job has ended: it says why, or was done before the answer to the last piece came.
            if not self._ask(record.id, POLL_S).ended:
                raise
        self._resumption.note_input(upload)

    def _follow(self, record: JobRecord) -> JobRecord:
        wait_s = POLL_S if self._tell is None else _TELL_EVERY_S
        while not record.ended:
            record = self._ask(record.id, wait_s)
            self._report_node(record.progress)
        return succeeded(record)

    def _ask(self, job_id: str, wait_s: float) -> JobRecord:
        """The job, however long the node is away."""
        backoff = Backoff(self._session.node.has_ended)
        while True:
            try:
                return self._session.node.job(job_id, wait_s)
            except (NodeUnreachableError, NodeBusyError) as error:
                self._group.check()
                backoff.wait(error)

    def _report_node(self, progress: Progress) -> None:
        """What the node is at: fetching the input from its URL, computing, or taking the output to its URL."""
        if progress.state == "queued" and progress.bytes_fetched is not None:
            self._report("upload", progress.bytes_fetched, progress.bytes_total)
        elif progress.bytes_delivered:
            self._report("download", progress.bytes_delivered, progress.bytes_out)
        elif self._source is None:
            total = progress.bytes_out if progress.state == "succeeded" else progress.bytes_expected
            self._report("compute", progress.bytes_out, total)
        else:
            self._report("compute", progress.bytes_in, progress.bytes_total)

    def _fetch(self, job_id: str, record: JobRecord | None) -> bytes | None:
        """The output to where it belongs, or as bytes."""
        memory = BytesIO() if self._destination is None else None
        with self._written(), self._sink(memory) as sink:
            fetch = Fetch(self._session.node, job_id, sink, self._count_received, self._several)
            fetch.record = record
            self._fetch_now = fetch
            fetch.run()
        return memory.getvalue() if memory is not None else None

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        """A failed write is named."""
        try:
            yield
        except OSError as error:
            raise access_error("write", _destination_name(self._destination), error) from error

    def _count_received(self, done: int) -> None:
        self._group.check()
        if self._stopped:
            raise JobCancelledError("the job was given up")
        self._received = done

    @contextlib.contextmanager
    def _sink(self, memory: BytesIO | None) -> Iterator[Sink]:
        if memory is not None:
            yield Sink(memory, empty=lambda: _empty(memory))
        elif self._resumption.keep is not None:
            yield self._resumption.sink()
            self._resumption.keep.finish()
        elif self._path is not None:
            with replacing(self._path) as file:
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    yield Sink(file, empty=lambda: _empty(file), descriptor=file.fileno())
                else:
                    yield Sink(file)
        elif self._remote is not None:
            with access.replacing(self._remote) as remote:
                yield Sink(remote)
        else:
            yield Sink(self._destination)  # type: ignore[arg-type]  # neither None nor a path: an open file

    def _report(self, phase: Phase, done: int, total: int | None = None) -> None:
        self._group.check()
        if phase == "upload" and self._fetching is not None and self._fetching.done():
            # An output that cannot be written is told now, not after the rest of the input has been sent.
            self._fetching.result()
        if self._tell is not None:
            self._tell(TransferProgress(self._source.name if self._source else "", phase, done, total))

    def _result(self, record: JobRecord, data: bytes | None) -> ProcessResult:
        app = record.app or App(status=0, msg="")
        profiling = app.profiling
        return ProcessResult(
            accelerator=self._session.accelerator,
            source=self._source.name if self._source else "",
            destination=_destination_name(self._destination) if self._gave_output(record) else "",
            bytes_in=record.progress.bytes_in,
            bytes_out=record.progress.bytes_out,
            backend=str(profiling.get("backend", "")),
            kernel_s=float(profiling.get("kernel-time", profiling.get("fpga-elapsed-time", 0.0))),
            elapsed_s=time.perf_counter() - self._started,
            specific=app.specific,
            profiling=profiling,
            message=app.msg,
            data=data,
        )

    def _gave_output(self, record: JobRecord) -> bool:
        """Of a function whose output is optional, only a job that wrote something did."""
        return self._session.card.get("output") != "optional" or record.progress.bytes_out > 0


def _empty(file: BytesIO | FileIO) -> None:
    file.seek(0)
    file.truncate()


def _check_output(shown: str, path: str) -> None:
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileAccessError(f"cannot write {shown!r}: the folder {folder!r} does not exist")
    mode = mode_of(path)
    if mode is not None:
        if stat.S_ISDIR(mode):
            raise FileAccessError(f"cannot write {shown!r}: it is a folder; name a file in it")
        if not os.access(path, os.W_OK):
            raise FileAccessError(f"cannot write {shown!r}: the file is read-only")
        if not stat.S_ISREG(mode):
            return
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FileAccessError(f"cannot write {shown!r}: the folder {folder!r} is read-only")


def _check_apart(source: str, destination: str) -> None:
    if os.path.isdir(source):
        real, folder = os.path.realpath(destination), os.path.realpath(source)
        if os.path.commonpath([folder, real]) == folder:
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
        return names.shown(os.fspath(destination))
    name = getattr(destination, "name", None)
    return name if isinstance(name, str) else "file"
