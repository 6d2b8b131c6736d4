"""Searching bytes without the GIL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acceleratorAPI.native._kernels import find


@given(data=st.binary(max_size=300), wanted=st.binary(max_size=3))
def test_finds_what_python_finds(data: bytes, wanted: bytes) -> None:
    assert find(memoryview(data), wanted) == data.find(wanted)


def test_what_is_no_bytes_is_refused() -> None:
    with pytest.raises(TypeError):
        find("text", b"x")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        find(b"x", "text")  # type: ignore[arg-type]
