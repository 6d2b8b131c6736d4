"""An ``accelerator.conf``, and every value in it."""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path

from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import ConfigurationError

ALLOWED = (ConfigurationError,)
SEEDS = (
    files("acceleratorAPI").joinpath("accelerator.conf.example").read_bytes(),
    b"[csp]\nprovider = LOCAL\nstop_mode = KEEP\n",
    b'[configuration]\nparameters = {"app": {"specific": {"a": [1, 2.5, null]}}}\n',
    b"\xef\xbb\xbf[general]\nstate_dir = ~/x\r\n[general]\n",
    b"[general]\nstate_dir = ~ a\0b\n",
    b"[csp]\nkey: value\n  more\n# comment\n;\n=\n",
)
# In memory where there is such a folder: making a file on a disk takes longer than reading it.
_SHARED_MEMORY = Path("/dev/shm")
_FOLDER = tempfile.mkdtemp(prefix="fuzz-config-", dir=_SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None)
_FILE = Path(_FOLDER) / "accelerator.conf"


def run(data: bytes) -> None:
    """Every setting of a file that is taken can be shown."""
    _FILE.write_bytes(data)
    for row in Configuration.load(_FILE, environ={"HOME": "/nonexistent"}).rows():
        assert isinstance(row.value, str)
