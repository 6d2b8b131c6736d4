"""Failed writes as typed errors. Shared by the node and its lean workers."""

from __future__ import annotations

import errno

from acceleratorAPI.errors import AcceleratorError, DiskFullError, FileAccessError


def disk_error(action: str, error: OSError) -> AcceleratorError:
    """An ``OSError`` of a write; a full disk, quota or size limit is ``DiskFullError``."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFullError(f"cannot {action}: {reason}; free some disk space on the node, then try again")
    return FileAccessError(f"cannot {action}: {reason}")
