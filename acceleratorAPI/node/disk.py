"""Failed writes as typed errors. Shared by the node and its lean workers."""

from __future__ import annotations

import errno
import os
import stat

from acceleratorAPI.errors import AcceleratorError, DiskFullError, FileAccessError

# The database's: it must be able to note that everything else did not fit.
LAST_BYTES = 16 << 20


def disk_error(action: str, error: OSError) -> AcceleratorError:
    """An ``OSError`` of a write; a full disk, quota or size limit is ``DiskFullError``."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFullError(f"cannot {action}: {reason}; free some disk space on the node, then try again")
    return FileAccessError(f"cannot {action}: {reason}")


def keep_last_bytes(descriptor: int) -> None:
    """Be as a full disk to a file that grows when only ``LAST_BYTES`` are left (of a small disk, a fiftieth).

    Raises:
        OSError: ``ENOSPC``.
    """
    system = os.fstatvfs(descriptor)
    if system.f_bavail * system.f_frsize < min(LAST_BYTES, system.f_blocks * system.f_frsize // 50):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
