"""Pack a folder in one call, and an archive call by call. Usage: aclz_tgz.py [FOLDER]"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from pathlib import Path

from acceleratorAPI import Accelerator


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as work, Accelerator("aclz_tgz") as accelerator:
        accelerator.start()
        whole = Path(work) / "folder.tgz"
        print(accelerator.process(folder, whole))

        grown = Path(work) / "grown.tgz"
        accelerator.process(b"first\n", name="first.txt", startOfTx=1, endOfTx=0)
        accelerator.process(folder, startOfTx=0, endOfTx=0)
        print(accelerator.process(b"last\n", grown, name="last.txt", startOfTx=0, endOfTx=1))

        for archive in (whole, grown):
            with tarfile.open(archive) as opened:
                print(f"{archive.name}: {len(opened.getnames())} members")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
