"""A job that has not ended, as the living node knows it. Plain state; who changes it is in ``runs``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from acceleratorAPI.node.change import Change
from acceleratorAPI.node.commands import Process
from acceleratorAPI.node.courier import Courier
from acceleratorAPI.node.rows import JobRow
from acceleratorAPI.node.slot import Call
from acceleratorAPI.node.uploads import Upload
from acceleratorAPI.protocol.records import JobState


@dataclass(eq=False)
class LiveJob:
    """One job.

    Attributes:
        call: on its way through the pool, or about to be.
        upload: its input, when that comes by itself.
        courier: carries what comes from a URL into the spool, or goes from there to a URL.
        bytes_out: in the output's file already.
        bytes_expected: what these will be, when the function has said.
        held: the output, when it is small and its request waits for it; set before ``ended``.
        waiters: requests that wait for it.
        keep: nobody waits any more: an output that is ``held`` goes to the spool after all.
        failed: its output will never be whole.
        put_back: it does not end with this node: the next run begins it again.
        stalled: it was taken from its slot, as its input did not come on.
        cancelled: why it is to end.
        change: any of these has changed.
    """

    row: JobRow
    command: Process
    upload: Upload | None = None
    courier: Courier | None = None
    call: Call = field(init=False)
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_expected: int | None = None
    held: bytes | None = None
    waiters: int = 0
    keep: bool = False
    failed: bool = False
    put_back: bool = False
    stalled: bool = False
    cancelled: str | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    change: Change = field(default_factory=Change)

    def __post_init__(self) -> None:
        self.call = Call(self.command)

    @property
    def waits_for_input(self) -> bool:
        """Whether it can only go on when more of its input arrives."""
        return self.upload is not None and not self.upload.row.complete

    @property
    def readable_bytes(self) -> int:
        """How much of the output is in the spool: what may still be held is not there before the job has ended."""
        return 0 if self.row.inline and not self.ended.is_set() else self.bytes_out

    @property
    def state(self) -> JobState:
        """Queued or running."""
        return "running" if self.call.running else "queued"
