"""T24: schemathesis makes requests from the node's own description, alone and in sequences; every answer must fit it.

``ACCELERATORAPI_CASES`` is how many cases an operation gets; ``scripts/soak-faults openapi`` gives 1,000.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CASES = os.environ.get("ACCELERATORAPI_CASES", "100")


def test_every_answer_is_as_described(nodes: Any, tmp_path: Path) -> None:
    node = nodes("--slots", "1", "--accelerator", "test_copy", "--body-idle", "2")
    node.configure("test_copy")
    command = [
        str(Path(sys.executable).with_name("st")), "run", f"{node.url}/openapi.json",
        "--header", f"Authorization: Bearer {node.token}", "--phases", "examples,coverage,fuzzing,stateful",
        "--max-examples", CASES, "--seed", "24", "--request-timeout", "30", "--no-color",
        "--exclude-path-regex", "^/v1.0/stop|^/v2/lease",
        # The schema of a function's parameters is its own, and what one function takes another does not.
        "--exclude-checks", "positive_data_acceptance",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr
    assert node.process.poll() is None
