"""Something others wait for: it has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


class Change:
    """Wakes everybody who waits, each time; belongs to one event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wait(self) -> Awaitable[object]:
        """Until the next ``notify`` from this call on, also when what is answered is awaited later."""
        return self._event.wait()

    def notify(self) -> None:
        """It has changed."""
        self._event.set()
        self._event = asyncio.Event()
