"""What every benchmark shares: the input, the race of peers, the table and the JSON."""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from acceleratorAPI.drivers.memory import reuse_freed_memory


@dataclass(frozen=True)
class Options:
    """What the command line sets; sizes in bytes."""

    rounds: int
    threads: int
    gzip_bytes: int
    hyperfire_bytes: int
    perl_bytes: int
    sed_bytes: int
    jpeg_frames: int
    random_bytes: int
    transfer_bytes: int
    ingest_events: int


@dataclass(frozen=True)
class Peer:
    """One competitor: what it does, and how many input bytes that is.

    Attributes:
        after: done after each round, not timed.
        server_cpu_s: processor time that the server behind it has used.
        cpu_s_gb: what the timed rounds used of that, for 10⁹ bytes.
    """

    name: str
    run: Callable[[], None]
    size_bytes: int
    after: Callable[[], None] = lambda: None
    server_cpu_s: Callable[[], float] | None = None
    cpu_s_gb: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """Ours against one peer. ``ratio`` is the median over the rounds of our rate by the peer's in that round.

    Attributes:
        unit: of the two rates.
    """

    subject: str
    peer: str
    ours_rate: float
    peer_rate: float
    ratio: float
    lowest_ratio: float
    size_ratio: float | None = None
    ours_cpu_s_gb: float | None = None
    peer_cpu_s_gb: float | None = None
    unit: str = "MB/s"


def make_text(path: Path, size_bytes: int) -> Path:
    """The Python standard library's sources, one after the other, again and again, up to ``size_bytes``."""
    root = Path(sysconfig.get_paths()["stdlib"])
    sources = [source.read_bytes() for source in sorted(root.rglob("*.py")) if "site-packages" not in source.parts]
    with path.open("wb") as text:
        while True:
            for source in sources:
                text.write(source[: size_bytes - text.tell()])
                if text.tell() == size_bytes:
                    return path


def race(ours: Peer, others: Sequence[Peer], rounds: int) -> dict[str, list[float]]:
    """The rate in MB/s of each peer in each round; peers take turns, so that a noisy neighbour hits all of them."""
    rates: dict[str, list[float]] = {peer.name: [] for peer in (ours, *others)}
    for number in range(rounds + 1):
        for peer in (ours, *others):
            cpu_s = peer.server_cpu_s() if peer.server_cpu_s else 0.0
            started = time.perf_counter()
            peer.run()
            rate = peer.size_bytes / (time.perf_counter() - started) / 1e6
            if number > 0:  # round 0 warms the page cache
                rates[peer.name].append(rate)
                if peer.server_cpu_s:
                    peer.cpu_s_gb.append((peer.server_cpu_s() - cpu_s) / peer.size_bytes * 1e9)
            peer.after()
        print(f"  {ours.name}: round {number} of {rounds}", file=sys.stderr, flush=True)
    return rates


def program(name: str) -> str:
    """Where a program is; ends the benchmark when it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"this benchmark needs {name}")
    return found


def igzip() -> tuple[list[str], str]:
    """The system's igzip, else that of the package isal: its command line, and what its name in tables ends with."""
    found = shutil.which("igzip")
    return ([found], "") if found else ([sys.executable, "-m", "isal.igzip"], " (python -m isal.igzip)")


def command(
    name: str,
    line: Sequence[str],
    output: Path,
    size_bytes: int,
    after: Callable[[], None] = lambda: None,
    env: Mapping[str, str] | None = None,
) -> Peer:
    """A program that writes to its standard output as a competitor."""

    def run() -> None:
        with rewritten(output) as target:
            subprocess.run(line, stdout=target, check=True, env=env)

    return Peer(name, run, size_bytes, after)


@contextlib.contextmanager
def rewritten(path: Path) -> Iterator[io.FileIO]:
    """The output of one round, written over that of the round before.

    A virtual machine gives memory that is free back to its host, at moments of its own. Pages of a new file are then
    made at a tenth of the speed, now for one peer, now for another; those of an old file are there.
    """
    with open(path, "r+b" if path.exists() else "x+b", buffering=0) as target:
        yield target
        if path.is_file():
            target.truncate(target.tell())


def compare(ours: Peer, other: Peer, rates: dict[str, list[float]], size_ratio: float | None = None) -> Row:
    """The row of a race for one of the others."""
    ratios = [mine / its for mine, its in zip(rates[ours.name], rates[other.name], strict=True)]
    return Row(
        subject=ours.name,
        peer=other.name,
        ours_rate=statistics.median(rates[ours.name]),
        peer_rate=statistics.median(rates[other.name]),
        ratio=statistics.median(ratios),
        lowest_ratio=min(ratios),
        size_ratio=size_ratio,
        ours_cpu_s_gb=statistics.median(ours.cpu_s_gb) if ours.cpu_s_gb else None,
        peer_cpu_s_gb=statistics.median(other.cpu_s_gb) if other.cpu_s_gb else None,
    )


def use_cores(count: int) -> None:
    """Keep this process and the peers it starts on ``count`` cores."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < count:
        print(f"only {len(cores)} cores here: ratios on {count} cores need {count}", file=sys.stderr)
    os.sched_setaffinity(0, cores[:count])
    # As the worker processes of a node, in which functions run, do.
    reuse_freed_memory()


def print_table(rows: Sequence[Row]) -> None:
    """The rows as a Markdown table; a column nobody fills is left out."""
    with_size = any(row.size_ratio is not None for row in rows)
    with_cpu = any(row.ours_cpu_s_gb is not None for row in rows)
    unit = rows[0].unit
    head = f"| subject | peer | {unit} | peer's {unit} | ratio | lowest ratio |"
    head += " server's CPU s/GB | peer's |" if with_cpu else ""
    head += " output size by the peer's |" if with_size else ""
    print(head)
    print("|---|---|" + "---:|" * (head.count("|") - 3))
    for row in rows:
        digits = 2 if with_cpu or unit != "MB/s" else 1
        line = (
            f"| {row.subject} | {row.peer} | {row.ours_rate:,.1f} | {row.peer_rate:,.3g} "
            f"| {row.ratio:,.{digits}f} | {row.lowest_ratio:,.{digits}f} |"
        )
        line += f" {_shown(row.ours_cpu_s_gb, 2)} | {_shown(row.peer_cpu_s_gb, 2)} |" if with_cpu else ""
        line += f" {_shown(row.size_ratio, 4)} |" if with_size else ""
        print(line)


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def write_json(path: Path, rows: Sequence[Row], options: Options) -> None:
    """Rows, options and the machine's description."""
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    record = {"machine": machine, "options": asdict(options), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(record, indent=2) + "\n")
