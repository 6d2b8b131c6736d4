"""The spool: the node's files under random names, and a writer that fills one while the next bytes arrive."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from crc32c import crc32c as crc32c_of

from acceleratorAPI.errors import DiskFullError
from acceleratorAPI.node.disk import disk_error, keep_last_bytes
from acceleratorAPI.node.streams import GROWING

BUFFER_BYTES = 1 << 20
RESERVE_BYTES = 2 << 30


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
        return self.folder / f"{name}{GROWING}"

    async def flush(self, name: str) -> None:
        """Put the file ``name`` on the disk, with its name.

        Raises:
            DiskFullError: it does not fit after all.
        """

        def work() -> None:
            try:
                for path, flags in ((self.path(name), os.O_RDONLY), (self.folder, os.O_RDONLY | os.O_DIRECTORY)):
                    descriptor = os.open(path, flags | os.O_CLOEXEC)
                    try:
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)
            except OSError as error:
                raise disk_error("store the file", error) from error

        await asyncio.get_running_loop().run_in_executor(self.threads, work)

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
        for name in names:
            if name:
                with contextlib.suppress(OSError):
                    self.path(name).unlink(missing_ok=True)
                    self.growing(name).unlink(missing_ok=True)

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
        return SpoolWriter(self.path(name), self.threads, at, crc32c)


class SpoolWriter:
    """Writes a file through two reused buffers: one fills while a thread writes the other and sums it up.

    Fresh memory for each chunk would cost twice the processor time: each one is page-faulted anew.

    Attributes:
        size_bytes: taken so far, on the disk or not.
        end: offset in the file up to which all is written.
        crc32c: of the file up to ``end``, when the writer was given the one up to its start.
    """

    def __init__(self, path: Path, threads: Executor, at: int | None = None, crc32c: int = 0) -> None:
        self._path = path
        self._threads = threads
        self._filling = memoryview(bytearray(BUFFER_BYTES))
        self._spare: memoryview | None = None
        self._fill = 0
        self._pending: asyncio.Future[None] | None = None
        self.size_bytes = 0
        self.end = at or 0
        self.crc32c = crc32c
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._descriptor = os.open(path, flags | (os.O_CREAT | os.O_EXCL if at is None else 0), 0o600)
        except OSError as error:
            raise disk_error("store the file", error) from error

    async def write(self, data: memoryview) -> None:
        """Take ``data``, waiting for the disk when both buffers are full.

        Raises:
            DiskFullError: an earlier part did not fit.
        """
        at = 0
        while at < len(data):
            taken = min(len(data) - at, BUFFER_BYTES - self._fill)
            self._filling[self._fill : self._fill + taken] = data[at : at + taken]
            self._fill += taken
            at += taken
            if self._fill == BUFFER_BYTES:
                await self._swap()
        self.size_bytes += len(data)

    async def close(self) -> None:
        """Everything to the file, and close it."""
        if self._fill:
            await self._swap()
        await self._settle()
        os.close(self._descriptor)
        self._descriptor = -1

    async def abandon(self) -> None:
        """Close the file as it is, whatever happened before; what was not written yet is lost."""
        if self._pending is not None:
            # The thread must be done with the descriptor before its number can be given to another file.
            await asyncio.wait([self._pending])
            self._pending.exception()
            self._pending = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    async def _swap(self) -> None:
        await self._settle()
        full, self._filling = self._filling, self._spare or memoryview(bytearray(BUFFER_BYTES))
        self._spare = full
        loop = asyncio.get_running_loop()
        self._pending = loop.run_in_executor(self._threads, self._write_all, full[: self._fill])
        self._fill = 0

    async def _settle(self) -> None:
        if self._pending is None:
            return
        # Shielded: when the request is cancelled, abandon() still waits for the thread.
        await asyncio.shield(self._pending)
        self._pending = None

    def _write_all(self, data: memoryview) -> None:
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
