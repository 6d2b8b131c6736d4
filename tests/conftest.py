"""For every test: a home of its own, no settings from outside, and no node left behind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def _nodes(folder: Path) -> list[psutil.Process]:
    """The node processes whose files are below ``folder``."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if "acceleratorAPI.node" in line and any(part.startswith(str(folder)) for part in line):
                found.append(process)
    return found


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home folder; fails a test that leaves a node running in it."""
    folder = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("ACCELERATOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    yield folder
    if not (folder / "state").exists():
        return
    left = _nodes(folder)
    for process in left:
        for member in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
    assert not left, f"the test left nodes running: {left}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium; see ``support/browsers.py``."""
    # A second to import, and few tests need it.
    from browsers import chromium

    with chromium() as found:
        yield found
