"""Each fuzz target on its seeds and 200 changes of them, so that no harness rots; ``scripts/fuzz`` looks further."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz import registry
from fuzz.mutations import mutated

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("name", registry.TARGETS)
def test_a_target_survives_its_seeds_and_changes_of_them(name: str) -> None:
    target = registry.load(name)
    accepted = [target.check(seed) for seed in target.seeds]
    assert any(accepted), "no seed is accepted: the harness looks at nothing but the first refusal"
    assert not all(accepted), "no seed is refused"
    for data in mutated(target.seeds, 200, name):
        target.check(data)


def test_every_module_with_seeds_is_registered() -> None:
    modules = sorted(path.stem for path in FOLDER.glob("*.py") if "\nSEEDS = " in path.read_text())
    assert modules == sorted(registry.TARGETS)


def test_the_checks_see_what_they_are_to_see() -> None:
    def hang(_: bytes) -> None:
        while True:
            pass

    def grow(_: bytes) -> None:
        bytearray(b"x" * (300 << 20))

    def fail(_: bytes) -> None:
        raise KeyError("x")

    def lines(_: bytes) -> None:
        raise ValueError("a\nb")

    for run, error in ((hang, registry.HangError), (grow, MemoryError), (fail, KeyError), (lines, AssertionError)):
        with pytest.raises(error):
            registry.Target("x", run, (), (ValueError,)).check(b"")
