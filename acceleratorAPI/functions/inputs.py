"""What a function may know of its input besides the bytes: the user's name for it, its size, the file it is."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from acceleratorAPI.drivers.base import Source


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Attributes:
    name: what the user calls the file or folder, without the folders above it; empty when it has no name.
    size_bytes: of the whole input; ``None`` when only its end will tell.
    status: of the user's own file, when that is what is read, not a copy that travelled.
    """

    name: str = ""
    size_bytes: int | None = None
    status: os.stat_result | None = None


def source_info(source: Source) -> SourceInfo:
    """What is known of ``source``: its ``info`` when it brings one, as a node's inputs do, else what a file tells."""
    info = getattr(source, "info", None)
    if isinstance(info, SourceInfo):
        return info
    name = getattr(source, "name", "")
    named = os.path.basename(os.path.normpath(name)) if isinstance(name, str) and name else ""
    try:
        status = os.fstat(source.fileno())  # type: ignore[attr-defined]  # not every source is a file
    except (AttributeError, OSError):
        return SourceInfo(named)
    return SourceInfo(named, status.st_size if stat.S_ISREG(status.st_mode) else None, status)
