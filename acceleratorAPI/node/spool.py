"""The spool: the node's files under random names, and a writer of one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from crc32c import crc32c as crc32c_of

from acceleratorAPI.errors import DiskFullError
from acceleratorAPI.node.disk import disk_error, keep_last_bytes

BUFFER_BYTES = 1 << 20
# What the file of an output is named while it grows: its name with this.
_GROWING = ".partial"
RESERVE_BYTES = 2 << 30
_QUICKLY_GONE_BYTES = 64 << 20


class Spool:
    """One folder of files named by 128 random bits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        # Disk waits get threads of their own, so that a slow disk cannot hold up anything else.
        self.threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="spool")

    @staticmethod
    def new_name() -> str:
        """A name nobody can guess and no file has."""
        return secrets.token_hex(16)

    def path(self, name: str) -> Path:
        """Where the file ``name`` is."""
        return self.folder / name

    def growing(self, name: str) -> Path:
        """Where the output ``name`` is while it is written."""
        return Path(self.growing_path(name))

    def growing_path(self, name: str) -> str:
        """As ``growing``; asked for every job, and a path object takes long to make."""
        return f"{self.folder}/{name}{_GROWING}"

    async def flush(self, name: str) -> None:
        """Put the file ``name`` on the disk, with its name.

        Raises:
            DiskFullError: it does not fit after all.
        """

        def work() -> None:
            _sync(self.path(name))
            _sync(self.folder)

        await self._stored(work)

    async def place(self, name: str) -> None:
        """Give an output that is whole, and on the disk, its name, there too.

        Raises:
            AcceleratorError: it cannot be done.
        """

        def work() -> None:
            os.replace(self.growing(name), self.path(name))
            _sync(self.folder)

        await self._stored(work)

    async def _stored(self, work: Callable[[], None]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self.threads, work)
        except OSError as error:
            raise disk_error("store the file", error) from error

    async def holds(self, name: str, size_bytes: int, crc32c: int) -> bool:
        """Whether the file ``name`` begins with so many bytes of that CRC32C: a power failure may have taken some."""

        def work() -> bool:
            found, left = 0, size_bytes
            with self.path(name).open("rb", buffering=0) as file:
                while left and (data := file.read(min(BUFFER_BYTES, left))):
                    found = crc32c_of(data, found)
                    left -= len(data)
            return left == 0 and found == crc32c

        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, work)
        except FileNotFoundError:
            return False

    def remove(self, *names: str | None) -> None:
        """Remove these files, as far as they exist."""
        for name in filter(None, names):
            for path in (self.path(name), self.growing(name)):
                with contextlib.suppress(OSError):
                    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                    try:
                        path.unlink(missing_ok=True)
                    finally:
                        self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        """Give back the pages and blocks of a removed file: at once, or, of a large one, without waiting for it."""
        if os.fstat(descriptor).st_size > _QUICKLY_GONE_BYTES:
            with contextlib.suppress(RuntimeError):  # the process ends
                self.threads.submit(os.close, descriptor)
                return
        os.close(descriptor)

    def sweep(self, keep: Iterable[str]) -> int:
        """Remove every file but ``keep`` (what a killed node left behind); how many they were."""
        kept = set(keep)
        orphans = [entry.name for entry in os.scandir(self.folder) if entry.name not in kept]
        self.remove(*orphans)
        return len(orphans)

    def check_room(self, size_bytes: int) -> None:
        """Refuse what cannot fit before its bytes travel.

        Raises:
            DiskFullError: fewer than ``size_bytes`` are free, a reserve for the database and the log aside.
        """
        disk = os.statvfs(self.folder)
        reserve = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // 20)
        free = max(0, disk.f_bavail * disk.f_frsize - reserve)
        if size_bytes > free:
            raise DiskFullError(
                f"the request's {size_bytes} bytes do not fit in the {free} bytes free on the node's disk;"
                " free some space, then try again"
            )

    def reserve(self, name: str, size_bytes: int) -> None:
        """Make the new file ``name`` with room for ``size_bytes``.

        Raises:
            DiskFullError: there is no such room.
        """
        self.check_room(size_bytes)
        descriptor = os.open(self.path(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            if size_bytes:
                os.posix_fallocate(descriptor, 0, size_bytes)
        except OSError as error:
            self.remove(name)
            raise disk_error("reserve space for the file", error) from error
        finally:
            os.close(descriptor)

    def writer(self, name: str, *, at: int | None = None, crc32c: int = 0) -> SpoolWriter:
        """A writer of the new file ``name``, or of one that exists, from the offset ``at`` on."""
        return SpoolWriter(self.path(name), at, crc32c)


class SpoolWriter:
    """Writes a file and sums it up. It waits for the disk: for threads.

    Attributes:
        end: offset in the file up to which all is written.
        crc32c: of the file up to ``end``, when the writer was given the one up to its start.
    """

    def __init__(self, path: Path, at: int | None, crc32c: int) -> None:
        self.end = at or 0
        self.crc32c = crc32c
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._descriptor = os.open(path, flags | (os.O_CREAT | os.O_EXCL if at is None else 0), 0o600)
        except OSError as error:
            raise disk_error("store the file", error) from error

    def write(self, data: memoryview) -> None:
        """Put all of ``data`` into the file.

        Raises:
            DiskFullError: it does not fit.
        """
        crc32c = crc32c_of(data, self.crc32c)
        size = len(data)
        try:
            keep_last_bytes(self._descriptor)
            while data:
                written = os.pwrite(self._descriptor, data, self.end + size - len(data))
                data = data[written:]
        except OSError as error:
            raise disk_error("store the file", error) from error
        self.crc32c = crc32c
        self.end += size

    def close(self) -> None:
        """Close the file as it is."""
        os.close(self._descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
