from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from acceleratorAPI.errors import JobCancelledError, NodeBusyError
from acceleratorAPI.node.commands import Configure
from acceleratorAPI.node.pool import Pool
from acceleratorAPI.node.sandbox import Sandbox
from acceleratorAPI.node.slot import Call, Slot


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 50])
def test_closing_while_the_workers_start_leaves_nothing(steps: int) -> None:
    async def run() -> None:
        pool = Pool(slots=2, threads=1)
        pool.start()
        for _ in range(steps):
            await asyncio.sleep(0)
        await pool.close()
        assert pool.pids == []
        assert len(asyncio.all_tasks()) == 1
        with pytest.raises(NodeBusyError):
            pool.submit(Call(Configure("1", "cast_gzip", {}, None, "unused")))

    asyncio.run(run())


def test_a_call_cancelled_while_its_worker_starts() -> None:
    async def run() -> None:
        pool = Pool(slots=1, threads=1)
        call = Call(Configure("1", "cast_gzip", {}, None, "unused"))
        pool.submit(call)
        await asyncio.sleep(0)
        pool.cancel(call, "no longer wanted")
        with pytest.raises(JobCancelledError, match="no longer wanted"):
            await call.answer
        await pool.close()

    asyncio.run(run())


def test_a_worker_makes_no_folder_where_the_node_has_removed_its_own(tmp_path: Path) -> None:
    async def run() -> None:
        slot = Slot(0, 1, None, Sandbox(temporary=str(tmp_path / "removed")))
        with pytest.raises(FileNotFoundError):
            await slot.start()
        slot.retire()

    asyncio.run(run())
    assert list(tmp_path.iterdir()) == []


def test_a_pool_that_was_killed_starts_no_worker() -> None:
    async def run() -> None:
        pool = Pool(slots=2, threads=1)
        pool.kill()
        pool.start()
        await asyncio.sleep(0.1)
        assert pool.pids == []
        await pool.close()

    asyncio.run(run())
