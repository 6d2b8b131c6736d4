"""What a node leaves whose end came before the store had all its usage: its database, for the next node to send."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from acceleratorAPI.errors import FileAccessError

DATABASE = "node.db"
# In a node's folder while the store may lack some of its usage; holds the store's URL.
MARKER = "usage-store"
FOLDER = "unsent"
_KEPT = {DATABASE, f"{DATABASE}-wal", MARKER}


def set_aside(folder: Path, unsent: Path) -> bool:
    """Move the folder of a node that has ended to where the next one looks, with its records alone.

    Returns:
        Whether there was anything to keep; if not, nothing is changed.

    Raises:
        FileNotFoundError: somebody else has removed it.
        FileAccessError: it cannot be moved.
    """
    if not (folder / MARKER).exists():
        return False
    place = unsent / f"{folder.name}-{secrets.token_hex(4)}"
    try:
        unsent.mkdir(mode=0o700, exist_ok=True)
        # In one step: a database without its journal would lack the newest jobs.
        os.rename(folder, place)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FileAccessError(f"cannot keep unsent usage in {str(unsent)!r}: {error.strerror}") from error
    for path in place.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in _KEPT:
            path.unlink(missing_ok=True)
    return True
