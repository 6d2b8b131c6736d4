"""T31: tus-js-client, the tus client of browsers and Node.js, works with the node as it is."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parent / "tus-js-client"
DATA = random.Random(31).randbytes(3_000_001)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, installed as its lock file says."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed; tus-js-client needs Node.js")
    folder = tmp_path_factory.mktemp("tus-js-client")
    for file in PACKAGE.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"npm cannot install tus-js-client here: {installed.stderr.strip()[-300:]}")
    return folder


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, node_kind: Any) -> Iterator[Any]:
    found = node_kind(tmp_path_factory.mktemp("node"))
    yield found("--slots", "1", "--accelerator", "test_copy")
    found.end()


@pytest.mark.parametrize("how", ["whole", "cut", "parallel", "stream"])
def test_it_uploads(package: Path, node: Any, tmp_path: Path, how: str) -> None:
    (tmp_path / "in.dat").write_bytes(DATA)
    command = ["node", "upload.js", f"{node.url}/v2/files/", node.token, str(tmp_path / "in.dat"), how]
    done = subprocess.run(command, cwd=package, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    path = done.stdout.strip().removeprefix(node.url)
    assert node.get(path).body == DATA
    job = node.request("POST", "/v2/jobs?wait=30", f'{{"upload": "{path}", "configuration": "{configured(node)}"}}',
                       {"Content-Type": "application/json"})  # fmt: skip
    assert job.json["progress"]["state"] == "succeeded", job.body
    assert node.get(f"/v2/jobs/{job.json['id']}/result").body == DATA


def configured(node: Any) -> str:
    return str(node.configure("test_copy")["url"])
