"""The native kernels under the sanitizers, and the interface of the module."""

from __future__ import annotations

import gc
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from acceleratorAPI.native._kernels import CorpusError, WordReplacer

ROOT = Path(__file__).parents[2]


def test_no_wrong_access_and_no_wrong_replacement_under_sanitizers() -> None:
    result = subprocess.run([ROOT / "scripts" / "sanitize", "11", "5"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "rounds" in result.stdout


def test_an_output_outlives_its_replacer_and_is_not_overwritten() -> None:
    replacer = WordReplacer(b"a,1")
    first, _ = replacer.replace(b"a a", 0)
    view = memoryview(first)
    second, _ = replacer.replace(b"b b", 0)
    del first, replacer
    gc.collect()
    assert (bytes(view), bytes(second)) == (b"1 1", b"b b")
    assert view.readonly


def test_wrong_calls() -> None:
    with pytest.raises(CorpusError) as caught:
        WordReplacer(b"a,1\n\xff,2\n\xff,3")
    assert caught.value.args == (3, b"\xff", "duplicate word, first on line 2")
    replacer = WordReplacer(b"a,1")
    with pytest.raises(ValueError, match="behind the window"):
        replacer.replace(b"abc", 4)
    with pytest.raises(TypeError):
        replacer.replace("text", 0)  # type: ignore[arg-type]


def test_many_threads_share_one_corpus() -> None:
    replacer = WordReplacer(b"a,1\nnew york,2")
    text = b"a b new york c " * 5000

    def work(_: int) -> bytes:
        return bytes(replacer.replace(text, 0)[0])

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(64))) == {b"1 b 2 c " * 5000}
