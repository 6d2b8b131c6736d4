"""Files of the node's machine that a request names by path, inside the folders the node was allowed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from acceleratorAPI.errors import FileAccessError, InputError, PermissionDeniedError
from acceleratorAPI.files import access_error


@dataclass(frozen=True, slots=True)
class SourcePlace:
    """A file or folder to read; ``size_bytes`` is ``None`` for all but a regular file."""

    path: str
    size_bytes: int | None
    is_folder: bool = False


def source_place(text: str, roots: tuple[Path, ...], *, folder: bool = False) -> SourcePlace:
    """The file ``text`` names, readable as far as can be seen now.

    Args:
        text: absolute path or ``file://`` URL.
        roots: where it must lie.
        folder: it may also be a folder.

    Raises:
        InputError: ``text`` is no absolute path.
        PermissionDeniedError: it is outside of ``roots``.
        FileAccessError: it is missing or cannot be read.
    """
    path = _inside("source", text, roots)
    try:
        status = os.stat(path)
    except OSError as error:
        raise access_error("read", text, error) from error
    is_folder = stat.S_ISDIR(status.st_mode)
    if is_folder and not folder:
        raise FileAccessError(f"cannot read {text!r}: it is a folder")
    if not os.access(path, os.R_OK | os.X_OK if is_folder else os.R_OK):
        raise FileAccessError(f"cannot read {text!r}: Permission denied")
    return SourcePlace(path, status.st_size if stat.S_ISREG(status.st_mode) else None, is_folder)


def target_place(text: str, roots: tuple[Path, ...]) -> str:
    """The file to write that ``text`` names.

    Raises:
        InputError: ``text`` is no absolute path.
        PermissionDeniedError: it is outside of ``roots``.
        FileAccessError: its folder is missing or cannot be written.
    """
    path = _inside("target", text, roots)
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        raise FileAccessError(f"cannot write {text!r}: it is a folder; name a file in it")
    if not os.path.isdir(folder):
        raise FileAccessError(f"cannot write {text!r}: there is no folder {folder!r}")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise FileAccessError(f"cannot write {text!r}: Permission denied")
    return path


def _inside(name: str, text: str, roots: tuple[Path, ...]) -> str:
    """The real path, every link resolved: that is what must lie below a root, and what is opened later."""
    path = text
    if text.startswith("file:"):
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
            raise InputError(f"{name} = {text!r}: use file:///absolute/path")
        path = unquote(parts.path)
    if not path.startswith("/") or "\0" in path:
        raise InputError(f"{name} = {text!r}: use an absolute path or a file:// URL")
    real = os.path.realpath(path)
    if not any(os.path.commonpath([root, real]) == str(root) for root in roots):
        raise PermissionDeniedError(
            f"{name} = {text!r}: this node may not touch files there; start it with --files-under FOLDER"
        )
    return real
