"""``acceleratorapi functions new``: the package it makes is the example's, installs, keeps the contract and runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acceleratorAPI.cli import scaffold
from acceleratorAPI.errors import FileAccessError, ParameterError

CLI = [sys.executable, "-m", "acceleratorAPI"]
EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def environment(home: Path, **more: str) -> dict[str, str]:
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("ACCELERATOR_", "XDG_"))}
    return {**keep, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", **more}


def test_the_example_is_what_the_templates_make() -> None:
    """After a change of the templates: remove examples/plugin, make change_case in examples and rename it."""
    assert contents(EXAMPLE) == scaffold.render("change_case")


def test_a_new_package_installs_without_network_keeps_the_contract_and_runs_through_a_node(tmp_path: Path) -> None:
    made = subprocess.run(
        [*CLI, "functions", "new", "shout_2_me", "--into", tmp_path],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert made.stderr == f"made {tmp_path / 'shout_2_me'}; its README.md says how to install, test and run it\n"
    package, installed = tmp_path / "shout_2_me", tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    command = [*pip, "--no-build-isolation", "--target", installed, package]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    settings = environment(tmp_path, PYTHONPATH=str(installed))
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    result = subprocess.run(tests, cwd=package, env=settings, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    job = [*CLI, "process", "shout_2_me", package / "README.md", tmp_path / "out", "-p", "to=upper"]
    result = subprocess.run(job, env=settings, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out").read_bytes() == (package / "README.md").read_bytes().upper()
    again = subprocess.run(
        [*CLI, "functions", "new", "shout_2_me", "--into", installed], env=settings, capture_output=True, check=False
    )
    assert again.returncode == 2
    assert b"a function of that name is installed" in again.stderr
    assert not (installed / "shout_2_me").exists()


@pytest.mark.parametrize(
    "name",
    ["", "A", "1a", "a-b", "a b", "_a", "a_", "a__b", "a.b", "../a", "a/b", "é", "a\n", "x" * 51, "new function"],
)
def test_a_bad_name_is_one_clear_line_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError, match=r"function name .*lower-case") as caught:
        scaffold.create(name, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["class", "import", "os", "json"])
def test_a_word_of_python_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError, match=f"function name '{name}': a word of Python or a module it brings"):
        scaffold.create(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "none", "block", "no", "function", "x" * 50, "klass", "a_1_b"])
def test_no_good_name_collides_with_what_the_module_uses(tmp_path: Path, name: str) -> None:
    folder = scaffold.create(name, tmp_path)
    module = folder / f"acceleratorapi_{name}.py"
    code = f"import acceleratorapi_{name} as m; print([v.card.name for v in vars(m).values() if hasattr(v, 'card')])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(tmp_path, PYTHONPATH=str(folder)), capture_output=True, text=True
    )
    assert done.stdout == f"[{name!r}]\n", done.stderr
    assert module.exists()


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("mine", "link"):
        with pytest.raises(FileAccessError, match="it exists; remove it"):
            scaffold.create(name, tmp_path)
    with pytest.raises(FileAccessError, match="is no folder"):
        scaffold.create("other", tmp_path / "absent")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "mine"]
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(FileAccessError, match="No space left"):
        scaffold.create("mine", tmp_path)
    assert list(tmp_path.iterdir()) == []
