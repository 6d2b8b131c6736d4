"""secureic_trng to a file, against ``head -c N /dev/urandom`` to a file."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from acceleratorAPI.functions.secureic_trng import RandomBytes, RandomParameters, SourceName
from acceleratorAPI.native._kernels import has_rdseed
from benchmarks.common import Options, Peer, Row, compare, race, rewritten

RDSEED_SHARE = 64


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

    return Peer(f"secureic_trng, {source}, {threads} threads", run, size_bytes)


def _rdseed(work: Path, size_bytes: int, threads: int) -> Peer | None:
    return _ours(work, "rdseed", size_bytes, threads) if has_rdseed() else None


def _head(work: Path, size_bytes: int) -> Peer:
    program, output = shutil.which("head"), work / "head.bin"
    if program is None:
        raise SystemExit("this benchmark needs head")

    def run() -> None:
        with rewritten(output) as target:
            subprocess.run([program, "-c", str(size_bytes), "/dev/urandom"], stdout=target, check=True)
        if os.path.getsize(output) != size_bytes:
            raise SystemExit("head wrote another size")

    return Peer("head -c N /dev/urandom", run, size_bytes)
