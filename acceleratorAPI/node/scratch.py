"""The scratch folders: one a configuration, for what its jobs leave for each other. Functions make and fill them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Collection
from pathlib import Path


class Scratch:
    """A folder of folders, named by configuration."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)

    def path(self, key: str) -> Path:
        """Where the configuration ``key`` has its folder, if it has one."""
        return self._folder / key

    async def remove(self, key: str) -> None:
        """Remove a configuration's folder."""
        await asyncio.to_thread(shutil.rmtree, self.path(key), ignore_errors=True)

    async def keep_only(self, keys: Collection[str]) -> None:
        """Remove the folders of all configurations but these."""

        def work() -> None:
            for folder in self._folder.iterdir():
                if folder.name not in keys:
                    shutil.rmtree(folder, ignore_errors=True)

        await asyncio.to_thread(work)
