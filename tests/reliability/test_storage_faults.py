"""T15: no call of the storage may fail unseen. ``scripts/soak-faults storage`` fails every one, here every third."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from storage import Storage
from storage_faults import WAYS, fail_every_call


@pytest.mark.parametrize("way", WAYS)
def test_a_failing_disk_is_an_error_and_never_a_success(nodes: Any, tmp_path: Path, way: str) -> None:
    storage = Storage(tmp_path / "state", tmp_path)
    line = fail_every_call(nodes, storage, way, every=3)
    storage.close()
    assert line.injected > 3
    assert line.lost == 0
