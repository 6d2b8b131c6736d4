"""Files that appear whole or not at all. Nothing here knows of jobs or HTTP."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from io import FileIO

from acceleratorAPI.errors import FileAccessError

_O_TMPFILE: int = getattr(os, "O_TMPFILE", 0)
_NEW_FLAGS = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC


def access_error(action: str, path: os.PathLike[str] | str, error: OSError) -> FileAccessError:
    """One clear line for a failed file operation, e.g. ``cannot write '/x/y': Permission denied``."""
    return FileAccessError(f"cannot {action} {os.fspath(path)!r}: {error.strerror or error}")


def open_source(path: os.PathLike[str] | str) -> FileIO:
    """An unbuffered reader of a regular file or FIFO.

    Raises:
        FileAccessError: it does not exist, is a folder, or may not be read.
    """
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise access_error("read", path, error) from error


@contextlib.contextmanager
def replacing(path: os.PathLike[str] | str, *, durable: bool = False) -> Iterator[FileIO]:
    """Write a file that takes the place of ``path`` only when the block ends without an error.

    Where the file system can (``O_TMPFILE``), the file has no name until then, so that not even
    ``kill -9`` leaves anything behind. A device or FIFO (``/dev/stdout``) is written in place.

    Args:
        path: the file to make or replace.
        durable: also flush file and folder to the disk before the new name counts.

    Raises:
        FileAccessError: the folder is missing or read-only, or ``path`` is a folder.
    """
    # Plain names and one look: many small outputs cost little more than this.
    final = os.path.realpath(path)
    folder, name = os.path.split(final)
    mode = mode_of(final)
    if mode is not None:
        if stat.S_ISDIR(mode):
            raise FileAccessError(f"cannot write {os.fspath(path)!r}: it is a folder; name a file in it")
        if not stat.S_ISREG(mode):
            with open(final, "wb", buffering=0) as device:
                yield device
            return
        if not os.access(final, os.W_OK):
            raise FileAccessError(f"cannot write {os.fspath(path)!r}: the file is read-only")
    temporary = f"{folder}/.{name[:100]}.{secrets.token_hex(8)}.partial"
    try:
        output, named = _open_temporary(folder, temporary)
    except OSError as error:
        raise access_error("write", path, error) from error
    try:
        with output:
            yield output
            if durable:
                os.fsync(output.fileno())
            if not named:
                taken = _give_name(output, final, temporary)
                named = taken == temporary
        if named:
            mode = mode_of(final)
            if mode is not None:
                os.chmod(temporary, stat.S_IMODE(mode))
            os.replace(temporary, final)
        if durable:
            _sync_folder(folder)
    except BaseException:
        if named:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise


def mode_of(path: str) -> int | None:
    """What ``path`` is and allows (``st_mode``), links followed; ``None`` when nothing is there."""
    try:
        return os.stat(path).st_mode
    except OSError:
        return None


def _open_temporary(folder: str, temporary: str) -> tuple[FileIO, bool]:
    """An empty file in ``folder``, and whether it already has the name ``temporary``."""
    if _O_TMPFILE:
        # Not every file system has O_TMPFILE (EOPNOTSUPP, or EISDIR on old kernels): then a named file serves.
        with contextlib.suppress(OSError):
            return FileIO(os.open(folder, _O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666), "r+b"), False
    return FileIO(os.open(temporary, _NEW_FLAGS | os.O_EXCL, 0o666), "r+b"), True


def _give_name(unnamed: FileIO, final: str, temporary: str) -> str:
    """Name a whole file: as it is to be called, when nothing is called so, else for a moment otherwise."""
    # A src_dir_fd makes Python call linkat(AT_SYMLINK_FOLLOW); plain link() would link the /proc entry itself.
    link = f"/proc/self/fd/{unnamed.fileno()}"
    with contextlib.suppress(FileExistsError):
        os.link(link, final, src_dir_fd=unnamed.fileno(), follow_symlinks=True)
        return final
    os.link(link, temporary, src_dir_fd=unnamed.fileno(), follow_symlinks=True)
    return temporary


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
