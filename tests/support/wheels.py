"""Wheels of what is installed here, so that a package index of this machine can give it to others."""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

import acceleratorAPI
from acceleratorAPI.native import _kernels


def of_all_needed(name: str, folder: Path) -> Path:
    """Wheels of a distribution and of all that it needs; its own is answered."""
    own, left, known = None, [name], set[str]()
    while left:
        found = distribution(left.pop())
        key = _normal(found.metadata["Name"])
        if key not in known:
            known.add(key)
            made = wheel(found, folder)
            own = own or made
            wanted = (Requirement(text) for text in found.requires or ())
            left += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    assert own is not None
    return own


def wheel(found: Distribution, folder: Path) -> Path:
    """A wheel of one installed distribution; it fits this Python alone, whatever its name says."""
    name = f"{_normal(found.metadata['Name']).replace('-', '_')}-{found.version}"
    path = folder / f"{name}-py3-none-any.whl"
    lines = []
    with zipfile.ZipFile(path, "w") as archive:
        for inside, file in _files(found, name):
            data = file.read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            archive.writestr(zipfile.ZipInfo(inside), data)
            lines.append(f'"{inside}",sha256={digest},{len(data)}\n')
        record = f"{name}.dist-info/RECORD"
        archive.writestr(zipfile.ZipInfo(record), "".join([*lines, f"{record},,\n"]))
    return path


def _files(found: Distribution, name: str) -> list[tuple[str, Path]]:
    files = [(str(file), Path(str(file.locate()))) for file in found.files or ()]
    if _normal(found.metadata["Name"]) == "acceleratorapi":
        # It may be installed as a link to where it is written.
        package = Path(acceleratorAPI.__file__).parent
        own = [(f"acceleratorAPI/{file.relative_to(package)}", file) for file in package.rglob("*") if file.is_file()]
        files = [*own, *((inside, file) for inside, file in files if ".dist-info/" in inside)]
        files.append((f"acceleratorAPI/native/{Path(_kernels.__file__).name}", Path(_kernels.__file__)))
    kept = {}
    for inside, file in files:
        where, information, rest = inside.partition(".dist-info/")
        inside = f"{name}.dist-info/{rest}" if information else where
        if not inside.startswith("..") and "__pycache__" not in inside and rest not in ("RECORD", "INSTALLER"):
            kept[inside] = file
    return sorted(kept.items())


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
