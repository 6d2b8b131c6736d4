"""A file that grows over several jobs, in a scratch folder. What a job that ended added counts; nothing else does.

The folder holds the file and ``state.json``, which says how much of it counts. Both are on the disk when a job ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from acceleratorAPI.errors import DiskFullError
from acceleratorAPI.files import replacing


@dataclass(frozen=True, slots=True)
class State:
    """What the jobs so far have made.

    Attributes:
        size_bytes: of the file that count.
        plain_bytes: that went into it, before compression.
        crc32: of those.
        members: entries of the archive.
        names: of the files and folders added; a folder's ends in '/'.
        job: the one that added last; when it begins again, what it adds is there already.
        given: that job gave the archive, so that none is open any more.
    """

    size_bytes: int = 0
    plain_bytes: int = 0
    crc32: int = 0
    members: int = 0
    names: tuple[str, ...] = ()
    job: str = ""
    given: bool = False

    def grown(self, name: str, job: str, *, size_bytes: int, plain_bytes: int, crc32: int, members: int) -> State:
        """With another job's part; all but ``members`` are totals."""
        names = (*self.names, name)
        return State(size_bytes, plain_bytes, crc32, self.members + members, names, job)


class Transaction:
    """The transaction of a scratch folder, held by one job at a time: others wait in ``with``.

    The lock is the kernel's: it goes with the process that holds it.
    """

    def __init__(self, folder: Path) -> None:
        """Look at nothing yet."""
        self._state_path = folder / "state.json"
        self._file_path = folder / "growing"
        self._lock_path = folder / "lock"
        self._lock = -1

    def __enter__(self) -> Self:
        self._lock = os.open(self._lock_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._lock)

    @property
    def state(self) -> State | None:
        """What there is, given or not; ``None`` when there is nothing. May be asked without holding it."""
        try:
            values = json.loads(self._state_path.read_bytes())
        except FileNotFoundError:
            return None
        return replace(State(**values), names=tuple(values["names"]))

    @contextlib.contextmanager
    def part(self, state: State) -> Iterator[FileIO]:
        """The file, to write a part behind what counts. The part does not count before ``commit``.

        Raises:
            DiskFullError: no space left for it.
        """
        try:
            descriptor = os.open(self._file_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            with FileIO(descriptor, "r+b") as file:
                # Behind that lies what a job that broke off had written.
                file.truncate(state.size_bytes)
                file.seek(state.size_bytes)
                yield file
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            reason = error.strerror or error
            raise DiskFullError(f"cannot add to the archive: {reason}; free some disk space on the node") from error

    def commit(self, state: State) -> None:
        """From now on ``state`` counts."""
        with replacing(self._state_path, durable=True) as file:
            file.write(json.dumps(asdict(state)).encode())

    def begun(self, state: State) -> FileIO:
        """The file, to read what counts of it from its start."""
        file = FileIO(self._file_path, "rb")
        if os.fstat(file.fileno()).st_size < state.size_bytes:
            file.close()
            raise OSError(errno.EIO, "the archive's beginning is damaged", str(self._file_path))
        return file

    def give(self, state: State, job: str) -> None:
        """No transaction is open any more. What there was stays for ``job``, should its output be lost in a crash."""
        self.commit(replace(state, job=job, given=True))

    def drop(self) -> None:
        """Remove what was given."""
        self._state_path.unlink(missing_ok=True)
        self._file_path.unlink(missing_ok=True)
