"""silex_sha3 on one file and on a folder of 1,000, against OpenSSL."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from acceleratorAPI.files import open_source
from acceleratorAPI.functions.silex_sha3 import Sha3Parameters, SilexSha3
from acceleratorAPI.native.folder import FolderReader
from benchmarks import inputs
from benchmarks.common import Options, Peer, Row, compare, program, race

ONE_BYTES = 500_000_000
FILES = 1000
FILE_BYTES = 100_000


def measure(work: Path, options: Options) -> list[Row]:
    """Race on one file, then on the folder with one thread and with all."""
    return [*_one_file(work, options), *_folder(work, options)]


def _one_file(work: Path, options: Options) -> list[Row]:
    file = inputs.random_bytes(ONE_BYTES)
    function = SilexSha3(options.threads)
    answers: dict[str, Any] = {}

    def run() -> None:
        with open_source(file) as source:
            answers.update(function.process(source, None, Sha3Parameters()).specific)

    ours = Peer("silex_sha3, SHA3-256 of one file", run, ONE_BYTES)
    openssl = Peer("openssl dgst -sha3-256 FILE", lambda: _openssl([file], work / "one.txt"), ONE_BYTES)
    rates = race(ours, [openssl], options.rounds)
    _agree([answers["digest"]], work / "one.txt")
    return [compare(ours, openssl, rates)]


def _folder(work: Path, options: Options) -> list[Row]:
    folder = work / "folder"
    folder.mkdir()
    chooser = random.Random(FILES)
    for number in range(FILES):
        (folder / f"file-{number:04}").write_bytes(chooser.randbytes(FILE_BYTES))
    files = sorted(folder.iterdir())
    size_bytes = FILES * FILE_BYTES
    openssl = Peer(f"openssl dgst -sha3-256 of {FILES} files", lambda: _openssl(files, work / "all.txt"), size_bytes)
    rows = []
    for threads in sorted({1, options.threads}):
        function = SilexSha3(threads)
        answers: dict[str, Any] = {}

        def run(function: SilexSha3 = function, answers: dict[str, Any] = answers) -> None:
            with FolderReader(folder) as source:
                answers.update(function.process_folder(source, None, Sha3Parameters()).specific)

        ours = Peer(f"silex_sha3, folder of {FILES} files of 100 KB, {threads} thread(s)", run, size_bytes)
        rates = race(ours, [openssl], options.rounds)
        _agree([answers["digests"][f"folder/{file.name}"] for file in files], work / "all.txt")
        rows.append(compare(ours, openssl, rates))
    return rows


def _openssl(files: Sequence[Path], answer: Path) -> None:
    with answer.open("wb") as target:
        subprocess.run([program("openssl"), "dgst", "-sha3-256", *files], stdout=target, check=True)


def _agree(digests: Sequence[str], answer: Path) -> None:
    """Both must do the same work for a ratio to mean anything."""
    theirs = [line.rpartition("= ")[2] for line in answer.read_text().splitlines()]
    if theirs != list(digests):
        raise SystemExit("our digests differ from OpenSSL's")
