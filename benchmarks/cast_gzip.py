"""cast_gzip from file to file, against igzip at the same level."""

from __future__ import annotations

import filecmp
import gzip
import shutil
import subprocess
import sys
from pathlib import Path

from acceleratorAPI.files import open_source
from acceleratorAPI.functions.cast_gzip import Gzip, GzipParameters
from benchmarks.common import Options, Peer, Row, compare, make_text, race


def measure(work: Path, options: Options) -> list[Row]:
    """Race at level 1, and compare the sizes of the outputs."""
    text = make_text(work / "gzip.txt", options.gzip_bytes)
    ours, theirs = work / "ours.gz", work / "igzip.gz"
    function = Gzip(options.threads)

    def run() -> None:
        ours.unlink(missing_ok=True)
        with open_source(text) as source, open(ours, "wb", buffering=0) as target:
            function.process(source, target, GzipParameters(level=1))

    program = shutil.which("igzip")
    command = [program] if program else [sys.executable, "-m", "isal.igzip"]

    def run_igzip() -> None:
        theirs.unlink(missing_ok=True)
        with theirs.open("wb") as target:
            subprocess.run([*command, "-1", "-c", str(text)], stdout=target, check=True)

    size_bytes = text.stat().st_size
    us = Peer("cast_gzip, level 1", run, size_bytes)
    igzip = Peer("igzip -1 (the system's)" if program else "igzip -1 (python -m isal.igzip)", run_igzip, size_bytes)
    rates = race(us, [igzip], options.rounds)
    _check(text, ours, work / "back.txt")
    return [compare(us, igzip, rates, size_ratio=ours.stat().st_size / theirs.stat().st_size)]


def _check(text: Path, packed: Path, back: Path) -> None:
    with gzip.open(packed) as source, back.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    if not filecmp.cmp(text, back, shallow=False):
        raise SystemExit("gzip does not give the input back")
