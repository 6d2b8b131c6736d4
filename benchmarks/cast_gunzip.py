"""cast_gunzip from file to file, against the quicker of igzip and rapidgzip."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from acceleratorAPI.files import open_source
from acceleratorAPI.functions.base import NoParameters
from acceleratorAPI.functions.cast_gunzip import Gunzip
from benchmarks import inputs
from benchmarks.cast_gzip import igzip_peer, ours
from benchmarks.common import Options, Peer, Row, command, compare, program, race, rewritten

_HARD_BYTES = 100 * 10**6


def measure(work: Path, options: Options) -> list[Row]:
    """Race on a foreign file, on our members, on one core, and on what could not be compressed."""
    tree = inputs.source_tar(options.gzip_bytes)
    foreign = _gzip(tree, work / "foreign.gz")
    indexed = work / "members.gz"
    ours(tree, indexed, options.threads, form="members").run()
    rows = _rows(work, options, tree, foreign, "one member by gzip -6")
    rows += _rows(work, replace(options, threads=1), tree, foreign, "one member by gzip -6")
    rows += _rows(work, options, tree, indexed, "cast_gzip's members")
    rows += _rows(work, replace(options, threads=1), tree, indexed, "cast_gzip's members")
    for hard, what in (
        (inputs.random_bytes(_HARD_BYTES), "random bytes"),
        (inputs.compressed(_HARD_BYTES), "an xz file"),
    ):
        rows += _rows(work, options, hard, _gzip(hard, work / "hard.gz"), f"{what} by gzip -6")
    return rows


def _gzip(source: Path, packed: Path) -> Path:
    with packed.open("wb") as target:
        subprocess.run([program("gzip"), "-6", "-c", str(source)], stdout=target, check=True)
    return packed


def _ours(packed: Path, back: Path, threads: int, size_bytes: int) -> Peer:
    function = Gunzip(threads)

    def run() -> None:
        with open_source(packed) as source, rewritten(back) as target:
            function.process(source, target, NoParameters())

    return Peer(f"cast_gunzip, {threads} thread{'s' * (threads > 1)}", run, size_bytes)


def _rows(work: Path, options: Options, content: Path, packed: Path, what: str) -> list[Row]:
    """Rates are in bytes of the content."""
    back, outputs = work / "back", [work / "igzip.out"]
    size_bytes = content.stat().st_size
    us = _ours(packed, back, options.threads, size_bytes)
    peers = [igzip_peer(packed, outputs[0], "-d", size_bytes=size_bytes)]
    rapidgzip = shutil.which("rapidgzip")
    if rapidgzip is not None:
        line = [rapidgzip, "-P", str(options.threads), "-d", "-c", str(packed)]
        outputs.append(work / "rapidgzip.out")
        peers.append(command(f"rapidgzip -P {options.threads}", line, outputs[1], size_bytes))
    rates = race(us, peers, options.rounds)
    for competitor, output in zip((us, *peers), (back, *outputs), strict=True):
        if not filecmp.cmp(content, output, shallow=False):
            raise SystemExit(f"{competitor.name} does not give the content back")
        output.unlink()
    rows = [compare(us, peer, rates) for peer in peers]
    return [replace(row, subject=f"{row.subject}: {what}, {size_bytes / 1e6:,.0f} MB") for row in rows]
