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


class _Fold(BlockKernel[None]):
    def __init__(self, take: Callable[[memoryview], None], block_size: int) -> None:
        self.block_size = block_size
        self._take = take

    @override
    def run(self, window: memoryview, start: int) -> tuple[Buffer, None]:
        self._take(window[start:])
        return b"", None


def run_fold(take: Callable[[memoryview], None], source: Source, block_size: int = 1 << 20) -> Measurement:
    """Give ``take`` the whole of ``source``, block by block, on one thread of its own while the calling thread reads.

    ``take`` releases the GIL while it computes and keeps no block. The first error of either ends the run.

    Raises:
        BlockingIOError: the source is in non-blocking mode.
    """
    # The blocks are submitted in order, and one thread takes them in that order.
    return run_blocks(_Fold(take, block_size), source, NoTarget(), threads=1)
