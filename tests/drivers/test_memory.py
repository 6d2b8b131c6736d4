"""Freed memory is used again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from acceleratorAPI.drivers.memory import reuse_freed_memory
if sys.argv[1] == "kept":
    reuse_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for number in range(60):
    if number == 10:
        before = faults()
    blocks = [b"x" * (3 << 20) for _ in range(4)]
    del blocks
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library takes the setting")
def test_blocks_are_not_faulted_in_each_time() -> None:
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, check=True).stdout)
        for how in ("kept", "given back")
    )
    # 50 rounds of 12 MiB are 150,000 pages.
    assert kept < 10_000
    if given_back > 100_000:
        assert kept < given_back / 10
