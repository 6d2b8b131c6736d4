"""The CPU driver for work that takes the input strictly in order (a digest): reading goes on while it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from typing_extensions import override

from acceleratorAPI.drivers.base import Measurement, Source
from acceleratorAPI.drivers.cpu import BlockKernel, run_blocks

if TYPE_CHECKING:
    from typing_extensions import Buffer


class NoTarget:
    """For a run without an output."""

    def write(self, data: memoryview, /) -> int:
        """Never called by a pipeline that has nothing to write."""
        raise AssertionError(f"{len(data)} bytes for no output")


class _Fold(BlockKernel[memoryview]):
    def __init__(self, take: Callable[[memoryview], None], block_size: int) -> None:
        self.block_size = block_size
        self._take = take

    @override
    def run(self, window: memoryview, start: int) -> tuple[Buffer, memoryview]:
        return b"", window[start:]

    @override
    def collect(self, note: memoryview) -> None:
        self._take(note)


def run_fold(take: Callable[[memoryview], None], source: Source, block_size: int = 1 << 20) -> Measurement:
    """Give ``take`` the whole of ``source``, block by block in its order, while the next block is read.

    ``take`` releases the GIL while it computes and keeps no block. The first error of either ends the run.

    Raises:
        BlockingIOError: the source is in non-blocking mode.
    """
    return run_blocks(_Fold(take, block_size), source, NoTarget(), threads=2)
