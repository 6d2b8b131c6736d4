"""T11: a power failure at any moment leaves nothing untrue. ``scripts/soak-faults power``: after every call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from power_failures import fail_after_calls


def test_what_a_power_failure_leaves_is_true(nodes: Any, tmp_path: Path) -> None:
    line = fail_after_calls(nodes, tmp_path, every=5, boot_every=12)
    assert line.injected > 50
    assert line.lost == 0
