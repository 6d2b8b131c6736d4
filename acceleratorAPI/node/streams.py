"""A job's input and output as its function sees them: opened, and counted on the way. Part of the lean worker."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from io import FileIO
from typing import Generic, TypeVar

from acceleratorAPI.drivers.base import Source
from acceleratorAPI.files import open_source, replacing
from acceleratorAPI.functions.inputs import SourceInfo
from acceleratorAPI.native.folder import FolderReader, TarReader
from acceleratorAPI.node.commands import Input
from acceleratorAPI.node.disk import disk_error

PROGRESS_INTERVAL_S = 0.2

SourceT = TypeVar("SourceT", bound=Source)


class Progress:
    """Counts the bytes a job has moved and tells them a few times a second."""

    def __init__(self, told: Callable[[int, int], None]) -> None:
        """Args:
        told: called with the bytes in and out so far.
        """
        self._told = told
        self._next = time.monotonic() + PROGRESS_INTERVAL_S
        self.bytes_in = 0
        self.bytes_out = 0

    def tell(self) -> None:
        """Tell the counts when the last time is long enough ago."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PROGRESS_INTERVAL_S
            self._told(self.bytes_in, self.bytes_out)


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


class CountedTarget:
    """A function's output, counted."""

    def __init__(self, file: FileIO, progress: Progress) -> None:
        self._file = file
        self._progress = progress
        self.dropped = False

    def drop(self) -> None:
        """The job gives no file, whatever was written."""
        self.dropped = True

    def write(self, data: memoryview, /) -> int | None:
        """As ``FileIO.write``.

        Raises:
            DiskFullError: no space left.
        """
        try:
            count = self._file.write(data)
        except OSError as error:
            raise disk_error("write the output", error) from error
        self._progress.bytes_out += count or 0
        self._progress.tell()
        return count


@contextlib.contextmanager
def file_source(given: Input, progress: Progress) -> Iterator[CountedSource[FileIO]]:
    """The file ``given`` names, opened."""
    with open_source(given.path) as file:
        status = os.fstat(file.fileno())
        size_bytes = status.st_size if stat.S_ISREG(status.st_mode) else None
        yield CountedSource(file, SourceInfo(given.name, size_bytes, None if given.sent else status), progress)


@contextlib.contextmanager
def folder_source(given: Input, progress: Progress) -> Iterator[CountedFolder]:
    """The folder ``given`` names, packed on the fly; or the tar file of a folder that was sent, checked on the fly."""
    with contextlib.ExitStack() as stack:
        if given.sent:
            reader: FolderReader | TarReader = TarReader(stack.enter_context(open_source(given.path)))
        else:
            reader = stack.enter_context(FolderReader(given.path))
        yield CountedFolder(reader, SourceInfo(given.name), progress)


class _DroppedError(Exception):
    """Keeps a file from taking its place."""


@contextlib.contextmanager
def file_target(path: str, progress: Progress, *, durable: bool) -> Iterator[CountedTarget]:
    """The output file, which appears at the end of a block without an error, unless the job dropped it.

    Raises:
        DiskFullError: no space left.
    """
    try:
        with replacing(path, durable=durable) as output:
            target = CountedTarget(output, progress)
            yield target
            if target.dropped:
                raise _DroppedError
    except _DroppedError:
        pass
    except OSError as error:
        raise disk_error("write the output", error) from error
