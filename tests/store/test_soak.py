"""``scripts/soak-metering`` in small: killed nodes, lost, repeated and late batches, a store down for an hour."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import postgres
import pytest

SOAK = Path(__file__).parents[1] / "soak_metering.py"


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_every_job_is_counted_once_whatever_happens(database: str) -> None:
    if database == "postgres" and not postgres.installed():
        pytest.skip(postgres.MISSING)
    done = subprocess.run([sys.executable, str(SOAK), database, "50"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "| 50 | 50 | 0 |" in done.stdout
