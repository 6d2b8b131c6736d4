"""secureic_trng to a file, against ``head -c N /dev/urandom`` to a file."""

from __future__ import annotations

import mmap
from pathlib import Path

from acceleratorAPI.functions.secureic_trng import RandomBytes, RandomParameters, SourceName
from acceleratorAPI.native._kernels import has_rdseed
from benchmarks.common import Options, Peer, Row, command, compare, program, race, rewritten

RDSEED_SHARE = 64
# Of a page: random ones are never alike.
_START_BYTES = 16


def measure(work: Path, options: Options) -> list[Row]:
    """Race each source on all threads, and the default on one."""
    size_bytes = options.random_bytes
    ours = [
        _ours(work, "kernel", size_bytes, options.threads),
        _ours(work, "kernel", size_bytes, 1),
        _ours(work, "chacha20", size_bytes, options.threads),
        _ours(work, "chacha20", size_bytes, 1),
    ]
    head = _head(work, size_bytes)
    rates = race(ours[0], [*ours[1:], head], options.rounds)
    rows = [compare(us, head, rates) for us in ours]
    rdseed = _rdseed(work, size_bytes // RDSEED_SHARE, options.threads)
    if rdseed is None:
        return rows
    small = _head(work, size_bytes // RDSEED_SHARE)
    return [*rows, compare(rdseed, small, race(rdseed, [small], options.rounds))]


def _ours(work: Path, source: SourceName, size_bytes: int, threads: int) -> Peer:
    function, output = RandomBytes(threads), work / "ours.bin"
    parameters = RandomParameters(nbBytes=size_bytes, source=source)

    def run() -> None:
        with rewritten(output) as target:
            function.process(None, target, parameters)

    name = f"secureic_trng, {source}, {threads} threads"
    return Peer(name, run, size_bytes, after=lambda: check(name, output, size_bytes))


def _rdseed(work: Path, size_bytes: int, threads: int) -> Peer | None:
    return _ours(work, "rdseed", size_bytes, threads) if has_rdseed() else None


def _head(work: Path, size_bytes: int) -> Peer:
    name, output = "head -c N /dev/urandom", work / "head.bin"
    line = [program("head"), "-c", str(size_bytes), "/dev/urandom"]
    return command(name, line, output, size_bytes, after=lambda: check(name, output, size_bytes))


def check(name: str, output: Path, size_bytes: int) -> None:
    """All was written: it has its size, and no two pages begin alike, as those would that nobody wrote."""
    with output.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        starts = range(0, len(content) - _START_BYTES + 1, mmap.PAGESIZE)
        different = len({content[start : start + _START_BYTES] for start in starts})
        if (len(content), different) != (size_bytes, len(starts)):
            raise SystemExit(
                f"{name}: {len(content)} bytes with {different} different pages, not {size_bytes} random ones"
            )
