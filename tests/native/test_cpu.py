"""The choice of a path: what the CPU has, and the variable that limits it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from acceleratorAPI.native._kernels import cpu_of_machine

LEVELS = ["portable", "avx2", "avx512"]
PATHS = LEVELS[: LEVELS.index(cpu_of_machine()) + 1]


def run(code: list[str], cpu: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ACCELERATORAPI_CPU": cpu}
    return subprocess.run([sys.executable, *code], env=environment, capture_output=True, text=True, check=False)


def table(cpu: str) -> dict[str, str]:
    done = run(["-m", "acceleratorAPI.native"], cpu)
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ", 1) for line in done.stdout.splitlines()]
    return {name: path.strip() for name, path in rows}


def test_no_limit_takes_what_the_machine_has() -> None:
    rows = table("")
    assert rows["this CPU has"] == PATHS[-1]
    assert rows["kernels take"] == f"{PATHS[-1]} (ACCELERATORAPI_CPU is not set)"
    assert "ISA-L" in rows["deflate 0 to 3, inflate, CRC-32"]
    assert "zlib-ng" in rows["deflate 4 to 9"]


@pytest.mark.parametrize("cpu", LEVELS)
def test_a_limit_holds_for_every_kernel(cpu: str) -> None:
    rows = table(cpu)
    taken = min(cpu, PATHS[-1], key=LEVELS.index)
    assert rows["kernels take"] == f"{taken} (ACCELERATORAPI_CPU = {cpu})"
    lanes = {"portable": "scalar", "avx2": "avx2, 4 lanes", "avx512": "avx512, 8 lanes"}
    assert rows["SHA-3 of many messages"] == lanes[taken]
    # AVX-512 began without what finding words needs.
    assert rows["finding words"] in {"avx512": ("avx512", "avx2")}.get(taken, (taken,))
    assert rows["replacing words"] == {"portable": "portable"}.get(taken, "avx2")


def test_a_wrong_limit_is_an_error_of_one_line() -> None:
    done = run(["-c", "import acceleratorAPI.native._kernels"], "sse9")
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    assert "ACCELERATORAPI_CPU = 'sse9': set it to portable, avx2 or avx512, or unset it" in last


# What the sizes at which its tables differ look like, on each path, by the same digest of all outputs.
_REPLACE = """
import hashlib
from acceleratorAPI.native._kernels import WordReplacer
digest = hashlib.sha256()
for size in range(1, 70):
    replacer = WordReplacer(b"w" * size + b",R" + b"x" * (size * 7 % 40) + b"\\nnew york,NY")
    for gap in (b" ", b"\\n" * 17, b"\\xff" * 70):
        text = gap.join([b"w" * size, b"w" * (size + 1), b"new york", b"w" * size] * 9)
        output, count = replacer.replace(text, 0)
        digest.update(bytes(output) + str(count).encode())
print(digest.hexdigest())
"""


def test_words_are_replaced_alike_on_every_path() -> None:
    outputs = {run(["-c", _REPLACE], cpu).stdout for cpu in PATHS}
    assert len(outputs) == 1
    assert len(outputs.pop().strip()) == 64
