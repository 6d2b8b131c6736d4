"""5 GiB and 0 bytes through both faces and curl, with the memory of every process involved."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from isal import igzip

GIB = 1 << 30
MEMORY_LIMIT_BYTES = 200_000_000

# Each runs in a process of its own, so that its peak memory is its own.
COMMON = """
import json, os, re, subprocess, sys, psutil
from pathlib import Path
source, target = sys.argv[1:3]
def peak(pid):
    try:
        return int(re.search(r"VmHWM:\\s+(\\d+)", Path(f"/proc/{pid}/status").read_text())[1]) * 1024
    except FileNotFoundError:
        return 0
def report(answer=None):
    node = sum(peak(child.pid) for child in psutil.Process().children(recursive=True))
    # Not getrusage: what it tells begins with the memory of whoever started this process.
    client = peak(os.getpid())
    print(json.dumps({"node": node, "client": client, "answer": answer}))
"""
HISTORICAL = """
from acceleratorAPI.acceleratorAPI import *
myaccel = AcceleratorClass(accelerator='cast_gzip')
assert myaccel.start()[0]
ok, answer = myaccel.process(file_in=source, file_out=target)
assert ok, answer
report()
assert myaccel.stop()[0]
"""
MODERN = """
from acceleratorAPI import Accelerator
with Accelerator('cast_gzip', shared_files=SHARED) as accelerator:
    accelerator.start()
    accelerator.process(source, target)
    report()
"""
CURL = """
from acceleratorAPI import Accelerator
with Accelerator('cast_gzip') as accelerator:
    accelerator.start()
    url = accelerator.url
    record = Path(sys.argv[3]).iterdir()
    (token,) = [path.read_text().strip() for path in record]
    def curl(*arguments):
        config = f'header = "Authorization: Bearer {token}"\\n'
        done = subprocess.run(["curl", "-sS", "--fail", "-K", "-", *arguments], input=config, text=True,
                              stdout=subprocess.PIPE, check=True)
        return done.stdout
    job = json.loads(curl("-F", "parameters={}", "-F", f"datafile=@{source}", f"{url}/v1.0/process/"))
    while not job["processed"]:
        job = json.loads(curl(f"{job['url']}?wait=30"))
    assert not job["inerror"], job
    curl("-o", target, job["datafileresult"])
    curl("-X", "DELETE", job["url"])
    report(job)
"""

WAYS = {
    "historical": HISTORICAL,
    "modern": MODERN.replace("SHARED", "None"),
    "modern over HTTP": MODERN.replace("SHARED", "False"),
    "curl": CURL,
}


def run(program: str, source: Path, target: Path, state: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", COMMON + program, str(source), str(target), str(state / "tokens")],
        capture_output=True,
        text=True,
        env={**os.environ, "ACCELERATOR_GENERAL_STATE_DIR": str(state)},
        cwd=target.parent,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def assert_holds_zeros(path: Path, size: int) -> None:
    """The gzip file at ``path`` holds ``size`` zero bytes."""
    zeros = bytes(1 << 20)
    total = 0
    with igzip.open(path, "rb") as file:
        while block := file.read(1 << 20):
            assert block == zeros[: len(block)]
            total += len(block)
    assert total == size


@pytest.mark.parametrize("size", [0, 5 * GIB], ids=["0 bytes", "5 GiB"])
@pytest.mark.parametrize("way", WAYS)
def test_size_does_not_matter(way: str, size: int, tmp_path: Path) -> None:
    if way == "curl" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    if shutil.disk_usage(tmp_path).free < 2 * size + GIB:
        pytest.skip("not enough free disk for the file and its upload")
    source, target = tmp_path / "zeros", tmp_path / "zeros.gz"
    with source.open("wb") as file:
        file.truncate(size)
    report = run(WAYS[way], source, target, tmp_path / "state")
    assert_holds_zeros(target, size)
    assert report["client"] <= MEMORY_LIMIT_BYTES
    assert report["node"] <= MEMORY_LIMIT_BYTES
    source.unlink()
