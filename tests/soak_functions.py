"""Every streaming function at 2^32 - 1, 2^32 and 2^32 + 1 bytes, judged by tools that share no code with it.

Needs some 10 GB of free disk and minutes; the inputs are sparse. Arguments: [SIZE ...] instead of these three.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from acceleratorAPI.files import open_source
from acceleratorAPI.functions import registry
from acceleratorAPI.functions.base import check_parameters

CORPUS = Path(__file__).parent / "data" / "hyperfire-corpus-2500.csv"
END = b"zero one about END\n"


def run(name, source, target, start=None, datafile=None, **parameters):
    """One job of a function; what it answered."""
    kind = registry.load(name)
    function = kind(2)
    function.configure(check_parameters(kind.configure_parameters, start or {}, name), datafile)
    with open_source(source) as given, open(target, "wb", buffering=0) as output:
        values = check_parameters(kind.process_parameters, parameters, name)
        return function.process(given, None if kind.card.output == "none" else output, values)


def same(command, path):
    """Whether a command's output is the file."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        done = subprocess.run(["cmp", "-", path], stdin=process.stdout, capture_output=True)
    return done.returncode == 0 and process.returncode == 0


def gzip_and_back(source, work):
    """Both ways, by gzip."""
    run("cast_gzip", source, work / "gz")
    assert same(["gzip", "-dc", work / "gz"], source), "gzip -dc gives something else"
    run("cast_gunzip", work / "gz", work / "plain")
    assert same(["cat", work / "plain"], source), "cast_gunzip gives something else"
    (work / "plain").unlink()


def tar(source, work):
    """By Python's tarfile."""
    run("aclz_tgz", source, work / "tar", {"mode": 2})
    with tarfile.open(work / "tar") as archive:
        (member,) = archive.getmembers()
        assert member.size == source.stat().st_size
        content = archive.extractfile(member)
        with source.open("rb") as original:
            while block := original.read(1 << 20):
                assert content.read(1 << 20) == block
    (work / "tar").unlink()


def sha3(source, work):
    """By hashlib."""
    outcome = run("silex_sha3", source, work / "none")
    with source.open("rb") as file:
        assert outcome.specific["digest"] == hashlib.file_digest(file, "sha3_256").hexdigest()


def words(source, work):
    """Zeros stay, and the words at the end are replaced at their places beyond 2^32."""
    pairs = dict(line.split(b",", 1) for line in CORPUS.read_bytes().splitlines())
    end = b" ".join(pairs.get(word, word) for word in END.strip().split()) + b"\n"
    run("axonerve_hyperfire", source, work / "text", datafile=CORPUS)
    size = source.stat().st_size - len(END)
    with (work / "text").open("rb") as file:
        assert not any(any(block) for block in iter(lambda: file.read(min(1 << 20, size - file.tell())), b""))
        assert file.read() == end
    (work / "text").unlink()
    run("axonerve_hyperfire", source, work / "found", datafile=CORPUS, mode="find")
    for line in (work / "found").read_bytes().splitlines():
        offset, _, word = line.partition(b":")
        with source.open("rb") as file:
            file.seek(int(offset))
            assert file.read(len(word)) == word


def main():
    sizes = [int(text) for text in sys.argv[1:]] or [2**32 - 1, 2**32, 2**32 + 1]
    with tempfile.TemporaryDirectory(prefix="acceleratorapi-soak-") as folder:
        work = Path(folder)
        for size in sizes:
            source = work / "source"
            with source.open("wb") as file:
                file.truncate(size - len(END))
                file.seek(0, 2)
                file.write(END)
            for check in (gzip_and_back, tar, sha3, words):
                started = time.monotonic()
                check(source, work)
                print(f"{size} bytes: {check.__name__} right in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
