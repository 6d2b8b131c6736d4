"""The checks of the benchmarks: a peer that did not do the work must not count."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from benchmarks import aclz_tgz, secureic_trng


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text("content")
    (folder / "link").symlink_to("inner")
    return folder


def packed(folder: Path, *names: str) -> Path:
    archive = folder.with_suffix(".tgz")
    with tarfile.open(archive, "w:gz") as opened:
        for name in names:
            opened.add(folder.parent / name, name, recursive=False)
    return archive


def test_an_archive_of_everything_passes(folder: Path) -> None:
    aclz_tgz.check(folder, packed(folder, "folder", "folder/inner", "folder/inner/file", "folder/link"))


@pytest.mark.parametrize("names", [(), ("folder/link",), ("folder/inner/file",)])
def test_an_archive_without_a_file_or_a_link_does_not(folder: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="other names"):
        aclz_tgz.check(folder, packed(folder, *names))


def test_an_archive_with_other_content_does_not(folder: Path) -> None:
    archive = packed(folder, "folder/inner/file", "folder/link")
    (folder / "inner" / "file").write_text("changed")
    with pytest.raises(SystemExit, match="does not give folder/inner/file back"):
        aclz_tgz.check(folder, archive)


def test_random_bytes_that_are_too_few_or_have_holes(tmp_path: Path) -> None:
    output, content = tmp_path / "random", os.urandom(100_000)
    output.write_bytes(content)
    secureic_trng.check("peer", output, len(content))
    for wrong in (content[:-1], content[:20_000] + bytes(80_000)):
        output.write_bytes(wrong)
        with pytest.raises(SystemExit, match="peer: "):
            secureic_trng.check("peer", output, len(content))
