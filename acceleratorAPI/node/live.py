"""A job that has not ended, as the living node knows it. Plain state; who changes it is the engine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from acceleratorAPI.node.change import Change
from acceleratorAPI.node.courier import Courier
from acceleratorAPI.node.pool import Call
from acceleratorAPI.node.rows import JobRow
from acceleratorAPI.node.uploads import Upload
from acceleratorAPI.protocol.records import JobState


@dataclass(eq=False)
class LiveJob:
    """One job.

    Attributes:
        upload: its input, when that comes by itself.
        courier: carries what comes from a URL into the spool, or goes from there to a URL.
        bytes_out: in the output's file already.
        failed: its output will never be whole.
        put_back: it does not end with this node: the next run begins it again.
        stalled: it was taken from its slot, as its input did not come on.
        cancelled: why it is to end.
        change: any of these has changed.
    """

    row: JobRow
    call: Call
    upload: Upload | None = None
    courier: Courier | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    failed: bool = False
    put_back: bool = False
    stalled: bool = False
    cancelled: str | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    change: Change = field(default_factory=Change)

    @property
    def waits_for_input(self) -> bool:
        """Whether it can only go on when more of its input arrives."""
        return self.upload is not None and not self.upload.row.complete

    @property
    def state(self) -> JobState:
        """Queued or running."""
        return "running" if self.call.running else "queued"
