"""Progress of a job: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from acceleratorAPI.cli import output
from acceleratorAPI.client.results import TransferProgress

_LINE_EVERY_S = 10.0


@contextmanager
def shown(*, quiet: bool) -> Iterator[Callable[[TransferProgress], None] | None]:
    """A callback for ``process(progress=...)`` that shows how far the job is, on stderr."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar() as callback:
            yield callback
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[Callable[[TransferProgress], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    view = Progress(
        TextColumn("{task.description:>8}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    tasks: dict[str, TaskID] = {}

    def update(progress: TransferProgress) -> None:
        if progress.phase not in tasks:
            tasks[progress.phase] = view.add_task(progress.phase, total=progress.bytes_total)
        view.update(tasks[progress.phase], completed=progress.bytes_done, total=progress.bytes_total)

    with view:
        yield update


def _lines() -> Callable[[TransferProgress], None]:
    started = last = time.monotonic()

    def update(progress: TransferProgress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _LINE_EVERY_S:
            return
        last = now
        total = f" of {progress.bytes_total / 1e6:.1f}" if progress.bytes_total else ""
        output.say(f"{progress.phase} {progress.bytes_done / 1e6:.1f}{total} MB after {now - started:.0f} s")

    return update
