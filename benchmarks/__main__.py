"""The command line of the benchmarks: ``scripts/bench SUBJECT``."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    aclz_tgz,
    alse_jpegenc,
    axonerve_hyperfire,
    cast_gunzip,
    cast_gzip,
    ingest,
    local_process,
    secureic_trng,
    silex_sha3,
    small_files,
    transfer,
)
from benchmarks.common import Options, Row, print_table, use_cores, write_json

Measure = Callable[[Path, Options], list[Row]]

FUNCTIONS = {
    "gzip": cast_gzip,
    "gunzip": cast_gunzip,
    "tgz": aclz_tgz,
    "hyperfire": axonerve_hyperfire,
    "sha3": silex_sha3,
    "jpeg": alse_jpegenc,
    "random": secureic_trng,
}
SUBJECTS: dict[str, tuple[Measure, ...]] = {
    "functions": tuple(module.measure for module in FUNCTIONS.values()),
    **{name: (module.measure,) for name, module in FUNCTIONS.items()},
    "local": (local_process.measure,),
    **{f"transfer-{name}": (part,) for name, part in transfer.PARTS.items()},
    "transfer": tuple(transfer.PARTS.values()),
    "small-files": (small_files.measure,),
    "ingest": (ingest.measure,),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Ratios to named peers, as a Markdown table.")
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds; the median counts")
    parser.add_argument("--threads", type=int, default=2, help="cores that all peers are kept on")
    parser.add_argument("--gzip-bytes", type=int, default=10**9)
    parser.add_argument("--hyperfire-bytes", type=int, default=256 * 10**6)
    parser.add_argument("--perl-bytes", type=int, default=64 * 10**6)
    parser.add_argument("--sed-bytes", type=int, default=10**6)
    parser.add_argument("--jpeg-frames", type=int, default=64, help="1080p frames of a round")
    parser.add_argument("--random-bytes", type=int, default=10**9)
    parser.add_argument("--transfer-bytes", type=int, default=2**30)
    parser.add_argument("--ingest-events", type=int, default=50_000, help="usage events of a round")
    parser.add_argument("--json", type=Path, help="where the figures go (build/bench-SUBJECT.json)")
    arguments = vars(parser.parse_args())
    subject, json_path = arguments.pop("subject"), arguments.pop("json")
    options = Options(**arguments)
    use_cores(options.threads)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="acceleratorapi-bench-") as folder:
        for measure in SUBJECTS[subject]:
            rows += measure(Path(folder), options)
    print_table(rows)
    write_json(json_path or Path("build") / f"bench-{subject}.json", rows, options)


if __name__ == "__main__":
    main()
