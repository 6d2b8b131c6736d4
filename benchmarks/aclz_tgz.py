"""aclz_tgz of a folder, against GNU tar and igzip at the same level in a pipe: the usual way to do it on two cores."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

from acceleratorAPI.functions.aclz_tgz import Tgz, TgzParameters
from acceleratorAPI.native.folder import FolderReader
from benchmarks import inputs
from benchmarks.common import Options, Peer, Row, compare, igzip, race, rewritten


def measure(work: Path, options: Options) -> list[Row]:
    """Race at level 1 on one thread and on all, and compare the sizes of the outputs."""
    folder = inputs.source_folder()
    ours, theirs = work / "ours.tgz", work / "tar-igzip.tgz"
    size_bytes = _archive_bytes(folder)

    def run(threads: int) -> None:
        with FolderReader(folder) as source, rewritten(ours) as target:
            Tgz(threads).process_folder(source, target, TgzParameters(level=1))

    packer, origin = igzip()

    def run_pipe() -> None:
        with rewritten(theirs) as target:
            tar = subprocess.Popen(["tar", "-c", "-C", folder.parent, folder.name], stdout=subprocess.PIPE)
            subprocess.run([*packer, "-1", "-c"], stdin=tar.stdout, stdout=target, check=True)
            if tar.wait() != 0:
                raise SystemExit("tar failed")

    us = Peer(f"aclz_tgz, level 1, {options.threads} deflating threads", lambda: run(options.threads), size_bytes)
    alone = Peer("aclz_tgz, level 1, 1 deflating thread", lambda: run(1), size_bytes)
    pipe = Peer(f"tar c \\| igzip -1{origin}", run_pipe, size_bytes)
    rates = race(us, [pipe, alone], options.rounds)
    check(folder, ours)
    size_ratio = ours.stat().st_size / theirs.stat().st_size
    return [compare(us, pipe, rates, size_ratio=size_ratio), compare(us, alone, rates), compare(alone, pipe, rates)]


def _archive_bytes(folder: Path) -> int:
    buffer = bytearray(1 << 20)
    with FolderReader(folder) as reader:
        return sum(iter(lambda: reader.readinto(buffer), 0))


def check(folder: Path, archive: Path) -> None:
    """Each file and each name of the folder is in the archive, and nothing else."""
    names = set()
    with tarfile.open(archive, "r|gz") as opened:
        for member in opened:
            if not member.isdir():
                names.add(member.name)
            file = opened.extractfile(member) if member.isreg() else None
            if file is not None and file.read() != (folder.parent / member.name).read_bytes():
                raise SystemExit(f"aclz_tgz does not give {member.name} back")
    there = {
        os.path.relpath(path, folder.parent) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    }
    if names != there:
        raise SystemExit(f"aclz_tgz gives other names back: {sorted(names ^ there)[:5]}")
