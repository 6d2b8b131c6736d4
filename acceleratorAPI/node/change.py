"""Something others wait for: it has changed."""

from __future__ import annotations

import asyncio


class Change:
    """Wakes everybody who waits, each time; belongs to one event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Until the next ``notify``."""
        await self._event.wait()

    def notify(self) -> None:
        """It has changed."""
        self._event.set()
        self._event = asyncio.Event()
