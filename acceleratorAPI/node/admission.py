"""Who may send more: places in the queue for all, and quotas of a client, which is a token.

A node without tokens has one client.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

from acceleratorAPI.errors import MachineEndingError, NodeBusyError, QuotaError, SpoolQuotaError
from acceleratorAPI.node.database import Database
from acceleratorAPI.node.live import LiveJob
from acceleratorAPI.node.pool import Pool
from acceleratorAPI.node.settings import Settings
from acceleratorAPI.node.uploads import Pour, Uploads

_CHECK_EVERY_BYTES = 8 << 20


class Admission:
    """The limits.

    Attributes:
        arriving: jobs that have a place but not all of their input yet.
    """

    def __init__(
        self, database: Database, uploads: Uploads, pool: Pool, live: dict[int, LiveJob], settings: Settings
    ) -> None:
        self._database = database
        self._uploads = uploads
        self._pool = pool
        self._live = live
        self._settings = settings
        self._arriving: dict[str, int] = {}
        self.draining = False
        # Why the machine is about to end, once that is known.
        self.notice: Callable[[], str] = lambda: ""

    @property
    def arriving(self) -> int:
        """How many jobs have a place but not all of their input yet."""
        return sum(self._arriving.values())

    @contextlib.contextmanager
    def place(self, client: str) -> Iterator[None]:
        """A place in the queue for a job of ``client`` whose input is still on its way.

        Raises:
            MachineEndingError: the node's machine is ending.
            NodeBusyError: the queue is full or the node is ending.
            QuotaError: the client has as many jobs as it may.
        """
        self.check_open()
        limit, most = self._settings.queue, self._settings.client_jobs
        waiting = self.arriving + sum(not job.call.running for job in self._live.values())
        if waiting - self._pool.idle >= limit:
            raise NodeBusyError(f"{waiting} jobs are waiting already (--queue {limit}); try again later")
        if most is not None:
            own = self._own(client)
            if own >= most:
                raise QuotaError(
                    f"{own} jobs of this token have not ended (--client-jobs {most}); wait for one of them"
                )
        self._arriving[client] = self._arriving.get(client, 0) + 1
        try:
            yield
        finally:
            self._arriving[client] -= 1
            if not self._arriving[client]:
                del self._arriving[client]

    def check_jobs(self, client: str, jobs: int) -> None:
        """So many jobs in the place that a request of ``client`` has?

        Raises:
            QuotaError: they are more than the client may have.
        """
        most = self._settings.client_jobs
        own = self._own(client) - 1
        if most is not None and own + jobs > most:
            raise QuotaError(
                f"{jobs} jobs beside {own} of this token that have not ended are too many (--client-jobs {most});"
                " send fewer at once, or wait for some to end"
            )

    def _own(self, client: str) -> int:
        """How many jobs and places in the queue are a client's."""
        return self._arriving.get(client, 0) + sum(job.row.client == client for job in self._live.values())

    def check_open(self) -> None:
        """Raises:
        MachineEndingError: its machine is.
        NodeBusyError: the node is ending.
        """
        if notice := self.notice():
            raise MachineEndingError(f"the node takes no more work: {notice}")
        if self.draining:
            raise NodeBusyError("the node is ending; try again on another one")

    def check_upload(self, client: str) -> None:
        """One more upload of ``client``?

        Raises:
            QuotaError: it has as many incomplete ones as it may.
        """
        most = self._settings.client_uploads
        if most is not None and (own := self._uploads.open_of(client)) >= most:
            raise QuotaError(f"{own} uploads of this token are not complete (--client-uploads {most}); end one of them")

    async def check_room(self, client: str, needed_bytes: int) -> None:
        """So many bytes more in the spool? It is as it was told until the caller waits for something else.

        Raises:
            SpoolQuotaError: the client's share of the spool has no room for them.
        """
        most = self._settings.client_bytes
        if most is None:
            return
        free_bytes = max(0, most - await self._used_bytes(client))
        if needed_bytes > free_bytes:
            raise SpoolQuotaError(
                f"the request needs {needed_bytes} bytes, and of the {most} in the spool that are this token's"
                f" (--client-bytes) {free_bytes} are free; delete jobs that have ended, or uploads",
                needed_bytes=needed_bytes,
                free_bytes=free_bytes,
            )

    def metered(self, client: str, pour: Pour, counted: Callable[[], int] = lambda: 0) -> Pour:
        """``pour`` of a body whose size nobody has told, as long as there is room for it.

        It raises ``SpoolQuotaError``, as ``check_room`` does.

        Args:
            client: whose it is.
            pour: gives the body.
            counted: how much of the body counts as the client's already.
        """

        async def poured(sink: Callable[[memoryview], None]) -> AsyncIterator[None]:
            arrived = checked = 0

            def take(piece: memoryview) -> None:
                nonlocal arrived
                arrived += len(piece)
                sink(piece)

            async for _ in pour(take):
                if arrived - checked >= _CHECK_EVERY_BYTES:
                    await self.check_room(client, arrived - counted())
                    checked = arrived
                yield
            await self.check_room(client, arrived - counted())

        return poured

    async def _used_bytes(self, client: str) -> int:
        # First: nothing may change between the rest and the decision.
        kept = await self._database.output_bytes(client)
        live = [job for job in self._live.values() if job.row.client == client]
        sent = sum(job.row.input_bytes or 0 for job in live if job.row.input is not None and job.upload is None)
        growing = sum(job.bytes_out for job in live if job.row.output is not None)
        return self._uploads.bytes_of(client) + sent + growing + kept
