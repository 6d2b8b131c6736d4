"""The main job end to end: ``process()`` on a LOCAL node, against its own kernel from file to file."""

from __future__ import annotations

from pathlib import Path

from acceleratorAPI import Accelerator
from acceleratorAPI.files import open_source
from acceleratorAPI.functions.cast_gzip import Gzip, GzipParameters
from benchmarks.common import Options, Peer, Row, compare, make_text, race


def measure(work: Path, options: Options) -> list[Row]:
    """Race ``Accelerator.process`` and the kernel in this process on the same file."""
    text = make_text(work / "local.txt", options.gzip_bytes)
    size_bytes = text.stat().st_size
    function = Gzip(options.threads)

    def kernel() -> None:
        packed = work / "kernel.gz"
        packed.unlink(missing_ok=True)
        with open_source(text) as source, open(packed, "wb", buffering=0) as target:
            function.process(source, target, GzipParameters())

    with Accelerator("cast_gzip") as accelerator:
        accelerator.start()

        def process() -> None:
            packed = work / "process.gz"
            packed.unlink(missing_ok=True)
            accelerator.process(text, packed)

        ours = Peer("process() of cast_gzip on a LOCAL node", process, size_bytes)
        peer = Peer("its kernel from file to file", kernel, size_bytes)
        return [compare(ours, peer, race(ours, [peer], options.rounds))]
