"""The offset store: inputs that arrive in pieces, over any number of connections and restarts. Knows nothing of HTTP.

What counts is the offset in the row; bytes of the file behind it are not there yet. A chunk that came with a checksum
counts only when it is right.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from acceleratorAPI.errors import AcceleratorError, InputError, NotFoundError, OffsetError, StateError
from acceleratorAPI.node.change import Change
from acceleratorAPI.node.database import Database
from acceleratorAPI.node.pieces import in_thread
from acceleratorAPI.node.rows import JobRow, UploadRow, now
from acceleratorAPI.node.spool import BUFFER_BYTES, Spool, SpoolWriter
from acceleratorAPI.protocol.joined import Joined, combine

log = logging.getLogger(__name__)

SAVE_EVERY_BYTES = 64 << 20

# Gives the pieces of a body to a sink that runs in a thread, and has a look allowed at what was taken between them.
Pour = Callable[[Callable[[memoryview], None]], AsyncIterator[None]]


class Checksum(Protocol):
    """Sums up one piece."""

    def update(self, data: memoryview, /) -> None:
        """Take the next bytes."""

    def verify(self, crc32c: int) -> None:
        """Raises: the request's error when the sum, or ``crc32c``, is not the one the client sent."""


class Upload:
    """One upload as the living node knows it.

    Attributes:
        row: as it is, or will be, in the database.
        removed: nothing will come any more.
        known: the row is on the disk, perhaps with an earlier offset.
        lanes: the requests that put pieces ahead, and where these begin.
        joined: what came of such pieces, ``None`` before the first.
        change: more has arrived, or it was completed or removed.
    """

    def __init__(self, row: UploadRow, *, known: bool = False) -> None:
        self.row = row
        self.known = known
        self.removed = False
        self.lock = asyncio.Lock()
        self.joined: Joined | None = None
        self.lanes: dict[asyncio.Task[object], int] = {}
        self.holder: asyncio.Task[object] | None = None
        self.ticket = 0
        self.change = Change()


class Uploads:
    """All uploads of the node."""

    def __init__(self, database: Database, spool: Spool, lifetime_s: float) -> None:
        """Args:
        database: where the rows are.
        spool: where the bytes are.
        lifetime_s: how long an upload stays that nothing is added to.
        """
        self._database = database
        self._spool = spool
        self._lifetime_s = lifetime_s
        self._uploads: dict[str, Upload] = {}

    async def restore(self) -> set[str]:
        """Take up what the database holds, cut to what is sure; the spool names in use."""
        for row in await self._database.uploads():
            if not await self._sure(row):
                log.warning("upload %s: its file lost bytes that were there before; it begins again", row.id)
                row.offset, row.crc32c, row.complete = 0, 0, False
                await self._database.save_upload(row)
            self._uploads[row.id] = Upload(row, known=True)
        return set(self._uploads)

    async def _sure(self, row: UploadRow) -> bool:
        """Whether the file still holds what the row says: a power failure may have taken unflushed bytes."""
        path = self._spool.path(row.id)
        if not path.exists():
            path.touch(0o600)
        if row.boot == boot_id() or row.offset == 0:
            return path.stat().st_size >= row.offset
        return await self._spool.holds(row.id, row.offset, row.crc32c)

    def open_of(self, client: str) -> int:
        """How many uploads of a client are not complete."""
        return sum(upload.row.client == client and not upload.row.complete for upload in self._uploads.values())

    def bytes_of(self, client: str) -> int:
        """The space that the uploads of a client have, or have reserved."""
        rows = (upload.row for upload in self._uploads.values() if upload.row.client == client)
        return sum(max(row.length or 0, row.offset) for row in rows)

    async def create(
        self, length: int | None, metadata: str = "", *, partial: bool = False, client: str = ""
    ) -> Upload:
        """A new, empty upload; it is on the disk once something was appended, be it nothing.

        Args:
            length: of the whole in bytes, when it is known; the space is reserved.
            metadata: the client's, kept as it came.
            partial: one of several to be put together by ``concatenate``.
            client: id of the token.

        Raises:
            DiskFullError: it does not fit.
        """
        row = UploadRow(
            id=self._spool.new_name(),
            created=now(),
            expires=time.time() + self._lifetime_s,
            boot=boot_id(),
            length=length,
            metadata=metadata,
            partial=partial,
            client=client,
        )
        # Counts from here on: whoever checked the client's quotas has not waited since.
        self._uploads[row.id] = upload = Upload(row)
        try:
            await in_thread(self._spool.threads, self._spool.reserve, row.id, length or 0)
        except BaseException:
            del self._uploads[row.id]
            self._spool.remove(row.id)
            raise
        return upload

    def get(self, identifier: str) -> Upload:
        """The upload of that id.

        Raises:
            NotFoundError: there is none, or no more.
        """
        upload = self._uploads.get(identifier)
        if upload is None:
            raise NotFoundError(f"there is no upload {identifier[:64]!r} on this node (any more)")
        return upload

    def find(self, identifier: str) -> Upload | None:
        """The upload of that id, if there is one."""
        return self._uploads.get(identifier)

    async def close(self) -> None:
        """End every request that adds to an upload; what arrived stays."""
        for upload in list(self._uploads.values()):
            if upload.holder is not None or upload.lanes:
                with contextlib.suppress(AcceleratorError):
                    await self.settle(upload)

    async def settle(self, upload: Upload) -> None:
        """End the request that is adding to ``upload``, if there is one: its offset will not move any more."""
        async with self._held(upload):
            pass

    async def append(
        self,
        upload: Upload,
        offset: int,
        pour: Pour,
        checksum: Checksum | None = None,
        *,
        last: bool | None = None,
    ) -> None:
        """Add what ``pour`` brings; a request that is still adding is ended first.

        Args:
            upload: to add to.
            offset: where the piece begins.
            pour: gives the piece to what it is called with.
            checksum: of the piece, to be right before any of it counts.
            last: whether the upload ends with this piece; ``None``: when its length is reached.

        Raises:
            OffsetError: the piece does not begin at the upload's offset.
            StateError: the upload is complete, or another request took it over.
            InputError: it becomes longer than announced, or ends too early.
            DiskFullError: the piece does not fit.
        """
        async with self._held(upload):
            row = upload.row
            if offset != row.offset:
                raise OffsetError(f"the upload stands at offset {row.offset}, not {offset}: go on from there")
            if row.complete:
                # An empty piece at the end says nothing new.
                async for _ in pour(_refuse_more):
                    pass
                return
            await self._take(upload, pour, checksum)
            await self._finish(upload, last)

    async def put_ahead(self, upload: Upload, offset: int, pour: Pour, checksum: Checksum) -> None:
        """Put a piece that need not be the next one; it counts when all before it is there.

        Several requests may do so at once. What is ahead is known to the living node only.

        Raises:
            StateError: another request has taken the upload over, or adds to it.
            InputError: the upload's length is not known, or the piece lies behind it.
            DiskFullError: the piece does not fit.
        """
        row = upload.row
        if row.length is None:
            raise InputError("Upload-Ahead: the upload's length must be known")
        if offset < row.offset or row.complete:
            async for _ in pour(lambda piece: None):
                pass
            return
        async with self._lane(upload, offset):
            writer = self._spool.writer(row.id, at=offset)

            def take(piece: memoryview) -> None:
                if writer.end + len(piece) > (row.length or 0):
                    raise InputError(f"the piece goes beyond the {row.length} bytes of the upload")
                checksum.update(piece)
                writer.write(piece)

            try:
                async for _ in pour(take):
                    pass
                checksum.verify(writer.crc32c)
            finally:
                writer.close()
            if upload.removed:
                raise _ended(upload)
            if upload.holder is not None:
                raise StateError("another request adds to this upload")
            if upload.joined is None or upload.joined.end != row.offset:
                upload.joined = Joined(row.offset, row.crc32c)
            if upload.joined.add(offset, writer.end - offset, writer.crc32c):
                row.offset, row.crc32c = upload.joined.end, upload.joined.crc32c
                await self._finish(upload, None)

    @contextlib.asynccontextmanager
    async def _lane(self, upload: Upload, offset: int) -> AsyncIterator[None]:
        """One of several requests, until it is ended by one that holds the upload, or puts the same piece."""
        me = asyncio.current_task()
        assert me is not None
        for task, its in list(upload.lanes.items()):
            if its == offset:
                _end_lane(upload, task)
        upload.lanes[me] = offset
        try:
            yield
        except asyncio.CancelledError:
            if me in upload.lanes:
                raise
            me.uncancel()
            raise _ended(upload) from None
        finally:
            upload.lanes.pop(me, None)

    async def _take(self, upload: Upload, pour: Pour, checksum: Checksum | None) -> None:
        row = upload.row
        saved = row.offset
        # A piece with a checksum counts when it is whole: its CRC32C is then put behind that of what was there.
        begin, before = row.offset, row.crc32c
        writer = self._spool.writer(row.id, at=begin, crc32c=before if checksum is None else 0)

        def take(piece: memoryview) -> None:
            if row.length is not None and writer.end + len(piece) > row.length:
                raise InputError(f"the upload becomes longer than the {row.length} bytes it was announced with")
            if checksum is not None:
                checksum.update(piece)
            writer.write(piece)

        try:
            async for _ in pour(take):
                if upload.removed:
                    raise NotFoundError("the upload was removed")
                if checksum is None:
                    self._advance(upload, writer)
                    if row.offset - saved >= SAVE_EVERY_BYTES:
                        saved = row.offset
                        await self._save(upload)
            if checksum is None:
                self._advance(upload, writer)
            else:
                checksum.verify(writer.crc32c)
                writer.crc32c = combine(before, writer.crc32c, writer.end - begin)
                self._advance(upload, writer)
        except BaseException:
            if checksum is None:
                # What arrived before the cut counts, and may have been all.
                row.complete = writer.end == row.length
                self._advance(upload, writer)
                upload.change.notify()
            if not upload.removed:
                await self._save(upload)
            raise
        finally:
            writer.close()

    async def _finish(self, upload: Upload, last: bool | None) -> None:
        """Put what was taken on the disk, and see whether it was all."""
        row = upload.row
        if last is None:
            last = row.offset == row.length
        short = last and row.length not in (None, row.offset)
        if last and not short:
            row.length, row.complete = row.offset, True
            # What a wrong piece left behind the end is not part of it.
            os.truncate(self._spool.path(row.id), row.offset)
        try:
            if not upload.removed:
                await self._save(upload)
        finally:
            upload.change.notify()
        if short:
            raise InputError(f"the upload ends at {row.offset} of the {row.length} bytes it was announced with")

    async def set_length(self, upload: Upload, length: int) -> None:
        """Announce the length of an upload that began without one.

        Raises:
            InputError: it has another length already, or is longer already.
        """
        row = upload.row
        if row.length not in (None, length) or length < row.offset:
            raise InputError(f"Upload-Length = {length}: the upload has {row.offset} of {row.length} bytes already")
        row.length = length
        row.complete = row.complete or row.offset == length
        await self._save(upload)
        upload.change.notify()

    async def concatenate(self, parts: Sequence[Upload], metadata: str, client: str) -> Upload:
        """A new upload of all ``parts`` one after the other; the parts go.

        Raises:
            StateError: a part is not complete.
            DiskFullError: it does not fit.
        """
        for part in parts:
            if not part.row.complete:
                raise StateError(f"part {part.row.id} is not complete: finish it first")
        whole = await self.create(sum(part.row.offset for part in parts), metadata, client=client)
        writer = self._spool.writer(whole.row.id, at=0)
        try:
            for part in parts:
                await in_thread(self._spool.threads, self._copy, part, writer)
                self._advance(whole, writer)
            await self._finish(whole, None)
        except BaseException:
            await self.remove(whole)
            raise
        finally:
            writer.close()
        for part in parts:
            await self.remove(part)
        return whole

    def _copy(self, part: Upload, writer: SpoolWriter) -> None:
        block = memoryview(bytearray(BUFFER_BYTES))
        with self._spool.path(part.row.id).open("rb", buffering=0) as file:
            while count := file.readinto(block):
                writer.write(block[:count])

    async def remove(self, upload: Upload) -> None:
        """Remove it, ending whatever still adds to it. Whoever follows it sees ``removed``."""
        await self.forget(upload)
        # The file first: on a full disk the change of the row needs its room.
        self._spool.remove(upload.row.id)
        await self._database.delete_upload(upload.row.id)

    async def forget(self, upload: Upload) -> None:
        """As ``remove``, but for the row and then the file, which the caller removes."""
        upload.removed = True
        upload.change.notify()
        self._uploads.pop(upload.row.id, None)
        # One that brought the last piece ends by itself, and well: its job may be quicker than its answer.
        if (upload.holder is not None or upload.lanes) and not upload.row.complete:
            with contextlib.suppress(AcceleratorError):
                await self.settle(upload)

    async def expire(self, in_use: set[str]) -> None:
        """Remove what nothing was added to for too long. A job of ``in_use`` that waits for the rest then fails."""
        for upload in list(self._uploads.values()):
            whole = upload.row.complete and upload.row.id in in_use
            if upload.row.expires < time.time() and upload.holder is None and not upload.lanes and not whole:
                log.info("upload %s: expired", upload.row.id)
                await self.remove(upload)

    @staticmethod
    def _advance(upload: Upload, writer: SpoolWriter) -> None:
        if writer.end != upload.row.offset:
            upload.row.offset, upload.row.crc32c = writer.end, writer.crc32c
            upload.change.notify()

    async def _save(self, upload: Upload) -> None:
        """Write the row. A power failure may take the last pieces, and so may it take that these were there."""
        upload.row.expires = time.time() + self._lifetime_s
        flush = upload.row.complete or not upload.known
        await self._database.save_upload(upload.row, flush=flush)
        upload.known = True

    @contextlib.asynccontextmanager
    async def _held(self, upload: Upload) -> AsyncIterator[None]:
        """The newest request has the upload; an older one is ended at a sure offset."""
        me = asyncio.current_task()
        assert me is not None
        upload.ticket += 1
        ticket = upload.ticket
        if upload.holder is not None:
            upload.holder.cancel()
        for task in list(upload.lanes):
            _end_lane(upload, task)
        async with upload.lock:
            if ticket != upload.ticket:
                raise _ended(upload)
            upload.holder = me
            try:
                yield
            except asyncio.CancelledError:
                if ticket == upload.ticket:
                    raise
                me.uncancel()
                raise _ended(upload) from None
            finally:
                upload.holder = None


def _end_lane(upload: Upload, task: asyncio.Task[object]) -> None:
    del upload.lanes[task]
    task.cancel()


def _ended(upload: Upload) -> AcceleratorError:
    """What a request is told whose upload is no longer its own."""
    if upload.removed:
        return NotFoundError("the upload was removed")
    return StateError("another request took this upload over")


def _refuse_more(_piece: memoryview) -> None:
    raise StateError("the upload is complete: nothing can be added to it")


async def input_is_whole(spool: Spool, row: JobRow) -> bool:
    """Whether what came with a job's request is in the spool as it came; it was not flushed to the disk."""
    if row.input is None:
        return True
    if row.input_crc32c is None or row.boot == boot_id():
        return spool.path(row.input).exists()
    return await spool.holds(row.input, row.input_bytes or 0, row.input_crc32c)


def boot_id() -> str:
    """Names this run of the machine: what was written in an earlier one may have lost its last bytes."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return f"{os.uname().nodename}"
