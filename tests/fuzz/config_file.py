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
_FILE = Path(tempfile.mkdtemp(prefix="fuzz-config-")) / "accelerator.conf"


def run(data: bytes) -> None:
    """Every setting of a file that is taken can be shown."""
    _FILE.write_bytes(data)
    for row in Configuration.load(_FILE, environ={"HOME": "/nonexistent"}).rows():
        assert isinstance(row.value, str)
