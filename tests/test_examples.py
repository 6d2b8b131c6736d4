"""Each example runs as it stands; ``make demo`` runs the demo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py") if path.name != "demo.py"))
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("ACCELERATOR_", "XDG_"))}
    command = [sys.executable, EXAMPLES / name]
    done = subprocess.run(
        command, cwd=tmp_path, env={**keep, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stderr == ""
