"""A state folder for each module, and an accelerator on it that its tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from acceleratorAPI import Accelerator


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file that puts the instances of this module in a folder of their own."""
    folder = tmp_path_factory.mktemp("module")
    path = folder / "accelerator.conf"
    path.write_text(f"[general]\nstate_dir = {folder / 'state'}\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def gzipper(conf: Path) -> Iterator[Accelerator]:
    """A started ``cast_gzip``, ended after the module."""
    with Accelerator("cast_gzip", config_file=conf) as accelerator:
        accelerator.start()
        yield accelerator
