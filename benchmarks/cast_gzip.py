"""cast_gzip from file to file, against igzip for speed and pigz for size."""

from __future__ import annotations

import filecmp
import gzip
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from acceleratorAPI.files import open_source
from acceleratorAPI.functions.cast_gzip import Gzip, GzipParameters
from benchmarks import inputs
from benchmarks.common import Options, Peer, Row, command, compare, igzip, program, race, rewritten

# What pigz needs minutes for, and what cannot be compressed, is shown on less.
_SIZE_BYTES = 300 * 10**6
_HARD_BYTES = 100 * 10**6


def measure(work: Path, options: Options) -> list[Row]:
    """Race for speed, for size, in the form of members, on one core, and on what cannot be compressed."""
    tree = inputs.source_tar(options.gzip_bytes)
    part = inputs.source_tar(min(options.gzip_bytes, _SIZE_BYTES))
    rows = [_against_igzip(work, options, tree, "source tar")]
    rows.append(_against_pigz(work, options, part, 6))
    rows.append(_against_pigz(work, replace(options, threads=1), part, 6))
    rows.append(_against_pigz(work, options, part, 5))
    rows.append(_against_igzip(work, options, part, "source tar", form="members"))
    rows.append(_against_igzip(work, replace(options, threads=1), tree, "source tar"))
    rows.append(_against_igzip(work, options, inputs.random_bytes(_HARD_BYTES), "random bytes"))
    rows.append(_against_igzip(work, options, inputs.compressed(_HARD_BYTES), "an xz file"))
    return rows


def ours(source_path: Path, packed: Path, threads: int, **values: Any) -> Peer:
    """``cast_gzip`` as a competitor."""
    function = Gzip(threads)
    parameters = GzipParameters(**values)

    def run() -> None:
        with open_source(source_path) as source, rewritten(packed) as target:
            function.process(source, target, parameters)

    given = "".join(f", {name} {value}" for name, value in values.items())
    return Peer(f"cast_gzip{given}, {threads} thread{'s' * (threads > 1)}", run, source_path.stat().st_size)


def igzip_peer(source_path: Path, output: Path, *flags: str, size_bytes: int) -> Peer:
    """igzip as a competitor."""
    line, origin = igzip()
    return command(f"igzip {' '.join(flags)}{origin}", [*line, *flags, "-c", str(source_path)], output, size_bytes)


def _against_igzip(work: Path, options: Options, source: Path, what: str, **values: Any) -> Row:
    packed, theirs = work / "ours.gz", work / "theirs.gz"
    us = ours(source, packed, options.threads, level=1, **values)
    peer = igzip_peer(source, theirs, "-1", size_bytes=us.size_bytes)
    return _race(work, options, source, packed, theirs, us, peer, what)


def _against_pigz(work: Path, options: Options, source: Path, level: int) -> Row:
    packed, theirs = work / "ours.gz", work / "theirs.gz"
    us = ours(source, packed, options.threads, level=level)
    line = [program("pigz"), "-6", f"-p{options.threads}", "-c", str(source)]
    peer = command(f"pigz -6 -p{options.threads}", line, theirs, us.size_bytes)
    return _race(work, options, source, packed, theirs, us, peer, "source tar")


def _race(
    work: Path, options: Options, source: Path, packed: Path, theirs: Path, us: Peer, peer: Peer, what: str
) -> Row:
    rates = race(us, [peer], options.rounds)
    for output in (packed, theirs):
        check(source, output, work / "back")
    size_ratio = packed.stat().st_size / theirs.stat().st_size
    row = compare(us, peer, rates, size_ratio=size_ratio)
    return replace(row, subject=f"{row.subject}: {what}, {us.size_bytes / 1e6:,.0f} MB")


def check(source_path: Path, packed: Path, back: Path) -> None:
    """Python's gzip must give the input back."""
    with gzip.open(packed) as source, back.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    if not filecmp.cmp(source_path, back, shallow=False):
        raise SystemExit("gzip does not give the input back")
    back.unlink()
