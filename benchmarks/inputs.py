"""Real inputs for the benchmarks, made once and kept in ``build/bench-inputs``.

The source tree is Debian's ``linux-source`` where it is installed (``apt-get install linux-source``), else the Python
standard library's sources, repeated: smaller files in larger numbers, so say which one a figure is of.
"""

from __future__ import annotations

import lzma
import os
import random
import shutil
import sysconfig
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

FOLDER = Path(os.environ.get("BENCH_INPUTS", "build/bench-inputs")).absolute()
_COPY_BYTES = 1 << 20


def source_tar(size_bytes: int | None = None) -> Path:
    """A tar of a source tree, whole (1.2 GB or more) or its first ``size_bytes``."""
    whole = _made("source.tar", _write_source_tar)
    return whole if size_bytes is None else _made(f"source-{size_bytes}.tar", lambda out: _head(whole, out, size_bytes))


def source_folder() -> Path:
    """The same tree as a folder of more than 50,000 files."""
    folder = FOLDER / "source"
    if not folder.is_dir():
        making = FOLDER / "source.making"
        shutil.rmtree(making, ignore_errors=True)
        with tarfile.open(source_tar()) as archive:
            archive.extractall(making, filter="data")
        making.rename(folder)
    return folder


def text(size_bytes: int) -> Path:
    """The tree's documentation as one text, again and again up to ``size_bytes``."""

    def write(out: BinaryIO) -> None:
        with tarfile.open(source_tar()) as archive:
            parts = [
                file.read()
                for member in archive
                if member.isfile() and member.name.endswith((".rst", ".txt")) and (file := archive.extractfile(member))
            ]
        whole = b"".join(parts) or source_tar().read_bytes()[:size_bytes]
        while out.tell() < size_bytes:
            out.write(whole[: size_bytes - out.tell()])

    return _made(f"documentation-{size_bytes}.txt", write)


def random_bytes(size_bytes: int) -> Path:
    """Bytes nothing can compress; the same in every run."""

    def write(out: BinaryIO) -> None:
        chooser = random.Random(size_bytes)
        while out.tell() < size_bytes:
            out.write(chooser.randbytes(min(_COPY_BYTES, size_bytes - out.tell())))

    return _made(f"random-{size_bytes}.bin", write)


def compressed(size_bytes: int) -> Path:
    """The start of an xz file of the tree: data that is compressed already."""
    return _made(f"compressed-{size_bytes}.xz", lambda out: _write_compressed(out, size_bytes))


def _linux_source() -> Path | None:
    found = sorted(Path("/usr/src").glob("linux-source-*.tar.xz"))
    return found[-1] if found else None


def _made(name: str, write: Callable[[BinaryIO], None]) -> Path:
    path = FOLDER / name
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        making = path.with_name(f"{name}.making")
        with making.open("wb") as out:
            write(out)
        making.rename(path)
    return path


def _write_source_tar(out: BinaryIO) -> None:
    packed = _linux_source()
    if packed is not None:
        with lzma.open(packed) as source:
            shutil.copyfileobj(source, out, _COPY_BYTES)
        return
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and "site-packages" not in path.parts]
    with tarfile.open(fileobj=out, mode="w") as archive:
        round_number = 0
        while out.tell() < 1_200_000_000:
            for path in files:
                archive.add(path, f"{round_number:03}/{path.relative_to(root)}", recursive=False)
            round_number += 1


def _write_compressed(out: BinaryIO, size_bytes: int) -> None:
    packed = _linux_source()
    if packed is not None and packed.stat().st_size >= size_bytes:
        _head(packed, out, size_bytes)
        return
    coder = lzma.LZMACompressor(preset=0)
    with source_tar().open("rb") as source:
        while out.tell() < size_bytes and (block := source.read(_COPY_BYTES)):
            out.write(coder.compress(block))
    out.truncate(min(out.tell(), size_bytes))


def _head(source: Path, out: BinaryIO, size_bytes: int) -> None:
    with source.open("rb") as whole:
        while (left := size_bytes - out.tell()) and (block := whole.read(min(_COPY_BYTES, left))):
            out.write(block)
