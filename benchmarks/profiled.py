"""One function, file to file, a few times: what ``scripts/profile`` watches."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from acceleratorAPI.drivers.base import Source, Target
from acceleratorAPI.drivers.memory import reuse_freed_memory
from acceleratorAPI.files import open_source
from acceleratorAPI.functions.axonerve_hyperfire import HyperFire, ProcessParameters, StartParameters
from acceleratorAPI.functions.cast_gzip import Gzip, GzipParameters
from benchmarks import inputs
from benchmarks.axonerve_hyperfire import CORPUS
from benchmarks.common import rewritten

Work = Callable[[Source, Target], object]
_BYTES = 256 * 10**6
_ROUNDS = 6


def hyperfire() -> tuple[Path, Work]:
    function = HyperFire(2)
    function.configure(StartParameters(), CORPUS)
    return inputs.text(_BYTES), lambda source, target: function.process(source, target, ProcessParameters())


def gzip() -> tuple[Path, Work]:
    function = Gzip(2)
    return inputs.source_tar(_BYTES), lambda source, target: function.process(source, target, GzipParameters())


SUBJECTS = {"hyperfire": hyperfire, "gzip": gzip}


def main() -> None:
    reuse_freed_memory()
    text, work = SUBJECTS[sys.argv[1]]()
    with tempfile.TemporaryDirectory(prefix="acceleratorapi-profile-") as folder:
        for _ in range(_ROUNDS):
            with open_source(text) as source, rewritten(Path(folder) / "out") as target:
                work(source, target)


if __name__ == "__main__":
    main()
