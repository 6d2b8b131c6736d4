"""``python -m acceleratorAPI`` is the command ``acceleratorapi``."""

from __future__ import annotations

from acceleratorAPI.cli.main import run

if __name__ == "__main__":
    run()
