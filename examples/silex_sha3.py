"""The digest of a file, and of every file of a folder in one job.

Run it with ``python examples/silex_sha3.py``.
"""

from __future__ import annotations

from pathlib import Path

from acceleratorAPI import Accelerator

folder = Path("letters")
folder.mkdir(exist_ok=True)
for letter in "abc":
    (folder / letter).write_text(letter * 1000)

with Accelerator("silex_sha3") as accelerator:
    accelerator.start()
    print("SHA3-256:", accelerator.process(folder / "a").specific["digest"])
    print("SHAKE128:", accelerator.process(folder / "a", type="shake-128", length=20).specific["digest"])
    for path, digest in accelerator.process(folder, type="sha3-512").specific["digests"].items():
        print(f"{digest}  {path}")
