"""Prints which implementation each kernel takes on this machine: ``python -m acceleratorAPI.native``."""

from __future__ import annotations

import os
import sys

from acceleratorAPI.native._kernels import cpu_level, cpu_of_machine, paths

_VARIABLE = "ACCELERATORAPI_CPU"


def main() -> None:
    """One line a kernel."""
    limit = os.environ.get(_VARIABLE)
    rows = {
        "this CPU has": cpu_of_machine(),
        "kernels take": f"{cpu_level()} ({_VARIABLE} = {limit})"
        if limit
        else f"{cpu_level()} ({_VARIABLE} is not set)",
        **paths(),
        "deflate 0 to 3, inflate, CRC-32": "ISA-L, by its own dispatch",
        "deflate 4 to 9": "zlib-ng, by its own dispatch",
    }
    width = max(map(len, rows))
    sys.stdout.writelines(f"{name:<{width}}  {path}\n" for name, path in rows.items())


if __name__ == "__main__":
    main()
