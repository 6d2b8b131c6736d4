"""Idempotency keys: a request that is repeated finds the job of the first one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from acceleratorAPI.errors import KeyUsedError
from acceleratorAPI.node.database import Database
from acceleratorAPI.node.rows import Once


class Keys:
    """The keys in use. Requests with the same one take turns, so that only the first begins a job."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def turn(self, once: Once | None) -> AsyncIterator[int | None]:
        """The id of the job that was begun ``once`` before; if there is none, a block may begin it.

        Raises:
            KeyUsedError: the key was used for something else.
        """
        if once is None:
            yield None
            return
        lock, users = self._turns.get(once.key, (asyncio.Lock(), 0))
        self._turns[once.key] = lock, users + 1
        try:
            async with lock:
                found = await self._database.answer(once.key)
                if found is not None and found[1] != once.fingerprint:
                    raise KeyUsedError("Idempotency-Key: it was used for another request; take a new key for each job")
                yield None if found is None else found[0]
        finally:
            lock, users = self._turns.pop(once.key)
            if users > 1:
                self._turns[once.key] = lock, users - 1
