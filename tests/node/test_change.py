"""What is waited for is never missed."""

from __future__ import annotations

import asyncio

from acceleratorAPI.node.change import Change


def test_a_notice_between_asking_and_waiting_counts() -> None:
    async def work() -> None:
        change = Change()
        waiting = asyncio.ensure_future(change.wait())
        change.notify()  # before the waiting task has run at all
        await asyncio.wait_for(waiting, 10)
        later = asyncio.ensure_future(change.wait())
        await asyncio.sleep(0)
        assert not later.done(), "an old notice is not a new one"
        later.cancel()

    asyncio.run(work())
