"""Failed writes as typed errors. Shared by the node and its lean workers."""

from __future__ import annotations

import errno
import os
import stat

from acceleratorAPI.errors import AcceleratorError, DiskFullError, FileAccessError


def disk_error(action: str, error: OSError) -> AcceleratorError:
    """An ``OSError`` of a write; a full disk, quota or size limit is ``DiskFullError``."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFullError(f"cannot {action}: {reason}; free some disk space on the node, then try again")
    return FileAccessError(f"cannot {action}: {reason}")


def refuse_if_too_large(descriptor: int, size_bytes: int) -> None:
    """Raise ``DiskFullError`` when the file system of an open regular file has no room for ``size_bytes``."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return
    system = os.fstatvfs(descriptor)
    free_bytes = system.f_bavail * system.f_frsize
    if size_bytes > free_bytes:
        raise DiskFullError(
            f"cannot write the output: it would have {size_bytes} bytes and the disk has {free_bytes} free; "
            "ask for less, or free some disk space on the node"
        )
