from __future__ import annotations

import csv
from pathlib import Path

import pytest

CORPUS = Path(__file__).parents[1] / "data" / "hyperfire-corpus-2500.csv"


@pytest.fixture(scope="session")
def corpus_file() -> Path:
    """The historical corpus of 2,500 words."""
    return CORPUS


@pytest.fixture(scope="session")
def corpus() -> dict[bytes, bytes]:
    with CORPUS.open(newline="") as lines:
        return {word.encode(): text.encode() for word, text in csv.reader(lines)}
