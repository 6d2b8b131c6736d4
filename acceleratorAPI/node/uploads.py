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
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from acceleratorAPI.errors import AcceleratorError, InputError, NotFoundError, OffsetError, StateError
from acceleratorAPI.node.change import Change
from acceleratorAPI.node.database import Database
from acceleratorAPI.node.rows import UploadRow, now
from acceleratorAPI.node.spool import BUFFER_BYTES, Spool, SpoolWriter

log = logging.getLogger(__name__)

SAVE_EVERY_BYTES = 64 << 20


class Checksum(Protocol):
    """Sums up one piece."""

    def update(self, data: bytes, /) -> None:
        """Take the next bytes."""

    def verify(self) -> None:
        """Raises: the request's error when the sum is not the one the client sent."""


class Upload:
    """One upload as the living node knows it.

    Attributes:
        row: as it is, or will be, in the database.
        removed: nothing will come any more.
        change: more has arrived, or it was completed or removed.
    """

    def __init__(self, row: UploadRow) -> None:
        self.row = row
        self.removed = False
        self.lock = asyncio.Lock()
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
            self._uploads[row.id] = Upload(row)
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
        await asyncio.get_running_loop().run_in_executor(self._spool.threads, self._spool.reserve, row.id, length or 0)
        self._uploads[row.id] = upload = Upload(row)
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
            if upload.holder is not None:
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
        chunks: AsyncIterator[bytes],
        checksum: Checksum | None = None,
        *,
        last: bool | None = None,
    ) -> None:
        """Add what ``chunks`` bring; a request that is still adding is ended first.

        Args:
            upload: to add to.
            offset: where the piece begins.
            chunks: the piece.
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
                async for chunk in chunks:
                    if chunk:
                        raise StateError("the upload is complete: nothing can be added to it")
                return
            await self._take(upload, chunks, checksum)
            await self._finish(upload, last)

    async def _take(self, upload: Upload, chunks: AsyncIterator[bytes], checksum: Checksum | None) -> None:
        row, begin = upload.row, upload.row.offset
        saved = begin
        writer = self._spool.writer(row.id, at=begin, crc32c=row.crc32c)
        try:
            async for chunk in chunks:
                if upload.removed:
                    raise NotFoundError("the upload was removed")
                if row.length is not None and begin + writer.size_bytes + len(chunk) > row.length:
                    raise InputError(f"the upload becomes longer than the {row.length} bytes it was announced with")
                if checksum is not None:
                    checksum.update(chunk)
                await writer.write(memoryview(chunk))
                if checksum is None:
                    self._advance(upload, writer)
                    if row.offset - saved >= SAVE_EVERY_BYTES:
                        saved = row.offset
                        await self._save(upload)
            await writer.close()
            if checksum is not None:
                checksum.verify()
            self._advance(upload, writer)
        except BaseException:
            if checksum is None:
                # What arrived before the cut counts, and may have been all.
                with contextlib.suppress(AcceleratorError):
                    await writer.close()
                row.complete = writer.end == row.length
                self._advance(upload, writer)
                upload.change.notify()
            if not upload.removed:
                await self._save(upload)
            raise
        finally:
            await writer.abandon()

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
                async for data in self._content(part):
                    await writer.write(memoryview(data))
                self._advance(whole, writer)
            await writer.close()
            self._advance(whole, writer)
        except BaseException:
            await writer.abandon()
            await self.remove(whole)
            raise
        await self._finish(whole, None)
        for part in parts:
            await self.remove(part)
        return whole

    async def _content(self, part: Upload) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        with self._spool.path(part.row.id).open("rb", buffering=0) as file:
            while data := await loop.run_in_executor(self._spool.threads, file.read, BUFFER_BYTES):
                yield data

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
        if upload.holder is not None and not upload.row.complete:
            with contextlib.suppress(AcceleratorError):
                await self.settle(upload)

    async def expire(self, in_use: set[str]) -> None:
        """Remove what nothing was added to for too long. A job of ``in_use`` that waits for the rest then fails."""
        for upload in list(self._uploads.values()):
            whole = upload.row.complete and upload.row.id in in_use
            if upload.row.expires < time.time() and upload.holder is None and not whole:
                log.info("upload %s: expired", upload.row.id)
                await self.remove(upload)

    @staticmethod
    def _advance(upload: Upload, writer: SpoolWriter) -> None:
        if writer.end != upload.row.offset:
            upload.row.offset, upload.row.crc32c = writer.end, writer.crc32c
            upload.change.notify()

    async def _save(self, upload: Upload) -> None:
        upload.row.expires = time.time() + self._lifetime_s
        await self._database.save_upload(upload.row)

    @contextlib.asynccontextmanager
    async def _held(self, upload: Upload) -> AsyncIterator[None]:
        """The newest request has the upload; an older one is ended at a sure offset."""
        me = asyncio.current_task()
        assert me is not None
        upload.ticket += 1
        ticket = upload.ticket
        if upload.holder is not None:
            upload.holder.cancel()
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


def _ended(upload: Upload) -> AcceleratorError:
    """What a request is told whose upload is no longer its own."""
    if upload.removed:
        return NotFoundError("the upload was removed")
    return StateError("another request took this upload over")


def boot_id() -> str:
    """Names this run of the machine: what was written in an earlier one may have lost its last bytes."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return f"{os.uname().nodename}"
