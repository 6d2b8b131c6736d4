"""The main job on input every machine has: the Python standard library's sources.

Compresses a text of at least 50 MB and a tar with `cast_gzip`, replaces 2,500 words with
`axonerve_hyperfire`, each through a node on this machine, and checks the results with tools
that share no code with ours: gzip, sed and Python's `re`.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from pathlib import Path

from acceleratorAPI.acceleratorAPI import *  # noqa: F403 - the guide's own first line

CORPUS = Path(__file__).parents[1] / "tests" / "data" / "hyperfire-corpus-2500.csv"
TEXT_BYTES = 50_000_000
SED_BYTES = 100_000


def main() -> int:
    """Run the demo; the exit code."""
    with tempfile.TemporaryDirectory(prefix="acceleratorapi-demo-") as folder:
        work = Path(folder)
        print("making the input from the Python standard library ...", flush=True)
        text, archive = make_text(work / "sources.txt"), make_archive(work / "sources.tar")
        rows = [
            compress(text, work / "sources.txt.gz"),
            compress(archive, work / "sources.tar.gz"),
            replace(text, work / "replaced.txt"),
        ]
    print_table(rows)
    print("\nAll results are right: gzip -dc gives the input back; sed and Python replace the same words.")
    return 0


def sources() -> list[Path]:
    """The standard library's modules, without what was installed later."""
    root = Path(sysconfig.get_paths()["stdlib"])
    return [path for path in sorted(root.rglob("*.py")) if "site-packages" not in path.parts]


def make_text(path: Path) -> Path:
    """All sources as one text, again and again until it has `TEXT_BYTES`."""
    modules = sources()
    with path.open("wb") as text:
        while text.tell() < TEXT_BYTES:
            for module in modules:
                text.write(module.read_bytes())
    return path


def make_archive(path: Path) -> Path:
    """The sources as a tar."""
    with tarfile.open(path, "w") as archive:
        for module in sources():
            archive.add(module, arcname=module.name)
    return path


def accelerate(accelerator: str, file_in: Path, file_out: Path, **start: str) -> tuple[float, float]:
    """The guide's example; the seconds in the kernel and in `process`."""
    myaccel = AcceleratorClass(accelerator=accelerator)  # noqa: F405
    check(myaccel.start(**start))
    begin = time.perf_counter()
    answer = check(myaccel.process(file_in=str(file_in), file_out=str(file_out)))
    elapsed = time.perf_counter() - begin
    check(myaccel.stop())
    return answer["app"]["result-profiling"]["kernel-time"], elapsed


def check(answer: tuple[bool, dict]) -> dict:
    """The answer's dict, or the end of the demo with its message."""
    success, details = answer
    if not success:
        sys.exit(f"demo failed: {details['app']['msg']}")
    return details


def compress(file_in: Path, file_out: Path) -> list[str]:
    """One row of the table for cast_gzip."""
    print(f"cast_gzip on {file_in.name} ...", flush=True)
    kernel_s, elapsed_s = accelerate("cast_gzip", file_in, file_out)
    with subprocess.Popen(["gzip", "-dc", file_out], stdout=subprocess.PIPE) as unzip:
        assert unzip.stdout is not None
        restored = hashlib.file_digest(unzip.stdout, "sha256").digest()
    with file_in.open("rb") as original:
        if restored != hashlib.file_digest(original, "sha256").digest():
            sys.exit(f"demo failed: gzip -dc {file_out.name} does not give {file_in.name} back")
    begin = time.perf_counter()
    with file_out.with_suffix(".peer").open("wb") as peer:
        subprocess.run(["gzip", "-c", file_in], stdout=peer, check=True)
    return row("cast_gzip", file_in, file_out, kernel_s, elapsed_s, time.perf_counter() - begin)


def replace(file_in: Path, file_out: Path) -> list[str]:
    """One row of the table for axonerve_hyperfire; gzip has no such job, so its column stays empty."""
    print(f"axonerve_hyperfire on {file_in.name}, {CORPUS.name} ...", flush=True)
    kernel_s, elapsed_s = accelerate("axonerve_hyperfire", file_in, file_out, datafile=str(CORPUS))
    pairs = dict(line.split(b",", 1) for line in CORPUS.read_bytes().splitlines())
    data = file_in.read_bytes()
    if file_out.read_bytes() != re.sub(rb"\w+", lambda word: pairs.get(word[0], word[0]), data):
        sys.exit("demo failed: axonerve_hyperfire and Python's re disagree")
    compare_with_sed(data[: data.index(b"\n", SED_BYTES) + 1], pairs, file_out)
    return row("axonerve_hyperfire", file_in, file_out, kernel_s, elapsed_s, None)


def compare_with_sed(head: bytes, pairs: dict[bytes, bytes], file_out: Path) -> None:
    """GNU sed with one expression a word, on the first lines only: it takes seconds for each 100 KB."""
    if shutil.which("sed") is None:
        return
    script = file_out.with_suffix(".sed")
    script.write_bytes(b"".join(b"s/\\<%b\\>/%b/g\n" % pair for pair in pairs.items()))
    sed = subprocess.run(
        ["sed", "-f", script], input=head, stdout=subprocess.PIPE, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    )
    if sed.returncode:
        print("sed knows no \\< here: this check is left out")
    elif not file_out.read_bytes().startswith(sed.stdout):
        sys.exit("demo failed: axonerve_hyperfire and sed disagree")


def row(name: str, file_in: Path, file_out: Path, kernel_s: float, elapsed_s: float, peer_s: float | None) -> list[str]:
    """The figures of one job as text."""
    size = file_in.stat().st_size
    return [
        name,
        file_in.name,
        f"{size / 1e6:.1f}",
        f"{file_out.stat().st_size / 1e6:.1f}",
        f"{size / kernel_s / 1e6:.0f}",
        f"{size / elapsed_s / 1e6:.0f}",
        f"{size / peer_s / 1e6:.0f}" if peer_s else "-",
    ]


def print_table(rows: list[list[str]]) -> None:
    """The rows under their headings, numbers to the right."""
    heads = ["function", "input", "MB in", "MB out", "kernel MB/s", "end to end MB/s", "gzip MB/s"]
    widths = [max(len(line[column]) for line in [heads, *rows]) for column in range(len(heads))]
    print()
    for line in [heads, *rows]:
        cells = [
            cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


if __name__ == "__main__":
    sys.exit(main())
