"""A job's input and output as its function sees them: opened, and counted on the way. Part of the lean worker."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from io import BytesIO, FileIO
from typing import Generic, TypeVar

from crc32c import crc32c

from acceleratorAPI.drivers.base import Source
from acceleratorAPI.errors import InputError, OutputLimitError
from acceleratorAPI.files import open_source, replacing
from acceleratorAPI.functions.inputs import SourceInfo
from acceleratorAPI.native.folder import FolderReader, TarReader
from acceleratorAPI.node.commands import INLINE_BYTES, Input, InputNews
from acceleratorAPI.node.disk import disk_error, keep_last_bytes, refuse_if_too_large

PROGRESS_INTERVAL_S = 0.05
PROGRESS_BYTES = 4 << 20

SourceT = TypeVar("SourceT", bound=Source)


class Progress:
    """Counts the bytes a job has moved and tells them a few times a second."""

    def __init__(self, told: Callable[[int, int, int | None], None]) -> None:
        """Args:
        told: called with the bytes in and out so far, and how many out there will be, if the function has said.
        """
        self._told = told
        self._next = time.monotonic() + PROGRESS_INTERVAL_S
        self._next_bytes = PROGRESS_BYTES
        self.bytes_in = 0
        self.bytes_out = 0
        self.bytes_expected: int | None = None

    def tell(self, *, now_or_never: bool = False) -> None:
        """Tell the counts when the last time is long enough ago, much output waits, or nothing may come for long."""
        now = time.monotonic()
        if now_or_never or now >= self._next or self.bytes_out >= self._next_bytes:
            self._next = now + PROGRESS_INTERVAL_S
            self._next_bytes = self.bytes_out + PROGRESS_BYTES
            self._told(self.bytes_in, self.bytes_out, self.bytes_expected)


class CountedSource(Generic[SourceT]):
    """A function's input, counted; ``info`` is what the function may know of it."""

    def __init__(self, source: SourceT, info: SourceInfo, progress: Progress) -> None:
        self.info = info
        self._source = source
        self._progress = progress

    def readinto(self, buffer: memoryview, /) -> int | None:
        """As ``FileIO.readinto``."""
        count = self._source.readinto(buffer)
        self._progress.bytes_in += count or 0
        self._progress.tell()
        return count


class Arrival:
    """How far the input of the running job is, as the node tells: set by one thread, waited for by another."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._news = InputNews(0)

    def reset(self) -> None:
        """A new job begins: nobody waits yet."""
        self._news = InputNews(0)

    def tell(self, news: InputNews) -> None:
        """Take the node's word."""
        with self._change:
            self._news = news
            self._change.notify_all()

    def beyond(self, at: int, before_waiting: Callable[[], None]) -> int:
        """How many bytes are there, once these are more than ``at`` or all.

        Raises:
            InputError: no more will come.
        """
        with self._change:
            if self._news.size_bytes <= at and not self._news.complete:
                before_waiting()
            while self._news.size_bytes <= at and not self._news.complete:
                if self._news.removed:
                    raise InputError("the upload of the input was removed before it was complete")
                self._change.wait()
            return self._news.size_bytes


class GrowingFile:
    """A file in the spool that is read as far as it has arrived."""

    def __init__(self, file: FileIO, arrival: Arrival, progress: Progress) -> None:
        self._file = file
        self._arrival = arrival
        self._progress = progress
        self._at = 0

    def readinto(self, buffer: memoryview, /) -> int | None:
        """As ``FileIO.readinto``; waits for what has not arrived."""
        there = self._arrival.beyond(self._at, lambda: self._progress.tell(now_or_never=True))
        count = self._file.readinto(buffer[: there - self._at]) if there > self._at else 0
        self._at += count or 0
        return count


class CountedFolder(CountedSource[FolderReader | TarReader]):
    """A folder as a function's input, counted."""

    @property
    def entries(self) -> int:
        """As ``FolderSource.entries``."""
        return self._source.entries

    def normalise(self) -> None:
        """As ``FolderSource.normalise``."""
        self._source.normalise()

    def omit_end(self) -> None:
        """As ``FolderSource.omit_end``."""
        self._source.omit_end()

    @property
    def warning(self) -> str:
        """What was not as it should be with the folder, empty when all was well."""
        return self._source.warning


class SpillingFile:
    """An output that is held in memory while it is small; what grows beyond goes to the file it was to be."""

    def __init__(self, open_file: Callable[[], FileIO]) -> None:
        """Args:
        open_file: called when a file is needed after all.
        """
        self._open_file = open_file
        self._memory = bytearray()
        self._file: FileIO | None = None

    @property
    def in_memory(self) -> bool:
        """Whether there is no file yet."""
        return self._file is None

    @property
    def held(self) -> bytes | None:
        """All of the output, unless there is a file."""
        return bytes(self._memory) if self._file is None else None

    def write(self, data: memoryview, /) -> int:
        """As ``FileIO.write``."""
        if self._file is None and len(self._memory) + len(data) <= INLINE_BYTES:
            self._memory += data
            return len(data)
        if self._file is None:
            self._file = self._open_file()
            held = memoryview(self._memory)
            while held:
                held = held[self._file.write(held) :]
            held.release()
            self._memory = bytearray()
        return self._file.write(data)

    def fileno(self) -> int:
        """As ``FileIO.fileno``, of the file that is then needed."""
        if self._file is None:
            self._file = self._open_file()
        return self._file.fileno()


class CountedTarget:
    """A function's output, counted."""

    def __init__(self, file: FileIO | SpillingFile, progress: Progress, max_bytes: int | None, *, summed: bool) -> None:
        """Args:
        file: takes the bytes.
        progress: counts them.
        max_bytes: how many it may be, ``None`` for no limit: no stored length needs to be believed.
        summed: also sum them up, in ``crc32c``.
        """
        self._file = file
        self._progress = progress
        self._max_bytes = max_bytes
        self.dropped = False
        self.crc32c: int | None = 0 if summed else None

    @property
    def held(self) -> bytes | None:
        """All of an output that went to no file."""
        return self._file.held if isinstance(self._file, SpillingFile) else None

    def drop(self) -> None:
        """The job gives no file, whatever was written."""
        self.dropped = True

    def write(self, data: memoryview, /) -> int | None:
        """As ``FileIO.write``.

        Raises:
            DiskFullError: no space left.
            OutputLimitError: it would be more than the node allows.
        """
        if self._max_bytes is not None and self._progress.bytes_out + len(data) > self._max_bytes:
            raise OutputLimitError(
                f"the output grows beyond {self._max_bytes} bytes, the most a job of this node may give (after "
                f"{self._progress.bytes_in} bytes of input); start the node with a larger --max-output"
            )
        try:
            if self.crc32c is not None and not (isinstance(self._file, SpillingFile) and self._file.in_memory):
                keep_last_bytes(self._file.fileno())
            count = self._file.write(data)
        except OSError as error:
            raise disk_error("write the output", error) from error
        self._progress.bytes_out += count or 0
        if self.crc32c is not None:
            self.crc32c = crc32c(data[:count], self.crc32c)
        self._progress.tell()
        return count

    def expect(self, size_bytes: int) -> None:
        """Refuse an output that cannot fit, before it fills the disk.

        Raises:
            DiskFullError: a regular file on a file system with less space.
            OutputLimitError: it would be more than the node allows.
        """
        if self._max_bytes is not None and size_bytes > self._max_bytes:
            raise OutputLimitError(
                f"the output of {size_bytes} bytes is more than the {self._max_bytes} a job of this node may give:"
                " start it with a larger --max-output"
            )
        if size_bytes > INLINE_BYTES or not isinstance(self._file, SpillingFile):
            refuse_if_too_large(self._file.fileno(), size_bytes)
        self._progress.bytes_expected = size_bytes


@contextlib.contextmanager
def file_source(
    given: Input, progress: Progress, arrival: Arrival
) -> Iterator[CountedSource[BytesIO] | CountedSource[FileIO] | CountedSource[GrowingFile]]:
    """The file ``given`` names, opened, or its bytes; one that is still on its way is read as it arrives."""
    if given.data is not None:
        memory = CountedSource(BytesIO(given.data), SourceInfo(given.name, len(given.data)), progress)
        yield memory
        return
    with given.file or open_source(given.path) as file:
        if given.grows:
            info = SourceInfo(given.name, given.size_bytes)
            yield CountedSource(GrowingFile(file, arrival, progress), info, progress)
            return
        status = os.fstat(file.fileno())
        size_bytes = status.st_size if stat.S_ISREG(status.st_mode) else None
        yield CountedSource(file, SourceInfo(given.name, size_bytes, None if given.sent else status), progress)


@contextlib.contextmanager
def folder_source(given: Input, progress: Progress, arrival: Arrival) -> Iterator[CountedFolder]:
    """The folder ``given`` names, packed on the fly; or the tar file of a folder that was sent, checked on the fly."""
    with contextlib.ExitStack() as stack:
        if given.sent:
            reader: FolderReader | TarReader
            if given.data is not None:
                reader = TarReader(BytesIO(given.data))
            else:
                file = stack.enter_context(given.file or open_source(given.path))
                reader = TarReader(GrowingFile(file, arrival, progress) if given.grows else file)
        else:
            reader = stack.enter_context(FolderReader(given.path))
        yield CountedFolder(reader, SourceInfo(given.name), progress)


class _DroppedError(Exception):
    """Keeps a file from taking its place."""


def own_target(path: str, progress: Progress, max_bytes: int | None) -> AbstractContextManager[CountedTarget]:
    """The user's own file, which appears at the end of a block without an error, unless the job dropped it.

    Args:
        path: of the file.
        progress: counts its bytes.
        max_bytes: how many these may be.

    Raises:
        DiskFullError: no space left.
    """
    return _target(replacing(path), progress, max_bytes, summed=False)


def spool_target(
    open_file: Callable[[], FileIO], progress: Progress, max_bytes: int | None, *, inline: bool
) -> AbstractContextManager[CountedTarget]:
    """An output for the spool, on the disk at the end of a block without an error.

    Args:
        open_file: gives the file; called at once, or when it is needed.
        progress: counts its bytes.
        max_bytes: how many these may be.
        inline: a small output is no file, but ``held``.

    Raises:
        DiskFullError: no space left.
    """
    return _target(_flushed(open_file, inline=inline), progress, max_bytes, summed=True)


@contextlib.contextmanager
def _flushed(open_file: Callable[[], FileIO], *, inline: bool) -> Iterator[FileIO | SpillingFile]:
    with contextlib.ExitStack() as stack:

        def opened() -> FileIO:
            return stack.enter_context(open_file())

        output = SpillingFile(opened) if inline else opened()
        yield output
        if not (isinstance(output, SpillingFile) and output.in_memory):
            os.fsync(output.fileno())


@contextlib.contextmanager
def _target(
    file: AbstractContextManager[FileIO | SpillingFile], progress: Progress, max_bytes: int | None, *, summed: bool
) -> Iterator[CountedTarget]:
    functions_own: BaseException | None = None
    try:
        with file as output:
            target = CountedTarget(output, progress, max_bytes, summed=summed)
            try:
                yield target
            except BaseException as error:
                functions_own = error
                raise
            if target.dropped:
                raise _DroppedError
    except _DroppedError:
        pass
    except OSError as error:
        if error is functions_own:
            raise
        raise disk_error("write the output", error) from error
