"""A third party's package adds a function; broken and doubled ones are named and do not disturb the others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from acceleratorAPI.errors import FunctionUnknownError
from acceleratorAPI.functions import registry

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"
OURS = sorted(point.name for point in distribution("acceleratorAPI").entry_points if point.group == registry.GROUP)


@pytest.fixture(scope="module")
def installed_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example plugin installed by pip into a folder of its own."""
    folder = tmp_path_factory.mktemp("plugin")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "--no-index", "--no-deps", "--no-build-isolation", "--target", folder, PLUGIN]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(autouse=True)
def fresh_registry() -> Iterator[None]:
    registry.load.cache_clear()
    yield
    registry.load.cache_clear()


def package(folder: Path, distribution: str, points: str, module: str = "", source: str = "") -> None:
    """An installed distribution as pip leaves it, with entry points of our group."""
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{points}\n")
    if module:
        (folder / f"{module}.py").write_text(source)


def test_the_example_plugin_is_found_run_and_keeps_the_contract(installed_plugin: Path) -> None:
    code = (
        "import io\n"
        "from acceleratorAPI.functions import registry\n"
        "assert 'change_case' in registry.installed()\n"
        "kind = registry.load('change_case')\n"
        "target = io.BytesIO()\n"
        "outcome = kind(1).process(io.BytesIO(b'a plugin'), target, kind.process_parameters())\n"
        "listed = 'change_case' in [entry.name for entry in registry.catalogue()]\n"
        "print(target.getvalue(), outcome.specific, listed)\n"
    )
    environment = {"PYTHONPATH": str(installed_plugin), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout == "b'A PLUGIN' {'changed': 7} True\n", run.stderr
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", PLUGIN / "tests"]
    result = subprocess.run(tests, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_a_broken_plugin_is_named_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "acme-broken", "broken_one = acme_broken:Thing", "acme_broken", "import no_such_library_at_all\n")
    package(tmp_path, "acme-wrong", "wrong_one = acme_wrong:Thing", "acme_wrong", "class Thing: pass\n")
    package(tmp_path, "acme-gone", "gone_one = acme_gone_module:Thing")
    monkeypatch.syspath_prepend(tmp_path)
    assert {"broken_one", "wrong_one", "gone_one", "cast_gzip"} <= set(registry.installed())
    with pytest.raises(FunctionUnknownError, match=r"'broken_one' of package acme-broken .*no_such_library_at_all"):
        registry.load("broken_one")
    with pytest.raises(FunctionUnknownError, match=r"'wrong_one' of package acme-wrong.*no subclass"):
        registry.load("wrong_one")
    with pytest.raises(FunctionUnknownError, match=r"'gone_one' of package acme-gone .*acme_gone_module"):
        registry.load("gone_one")
    listed = {entry.name for entry in registry.catalogue()}
    assert listed == set(registry.installed()) - {"broken_one", "wrong_one", "gone_one"}


def test_two_packages_with_one_name_are_both_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path / "a", "acme-one", "twice = acme_one:Thing")
    package(tmp_path / "b", "acme-two", "twice = acme_two:Thing")
    monkeypatch.syspath_prepend(tmp_path / "a")
    monkeypatch.syspath_prepend(tmp_path / "b")
    assert registry.installed().count("twice") == 1
    with pytest.raises(FunctionUnknownError, match="acme-one, acme-two"):
        registry.load("twice")


def test_an_unknown_function_names_the_nearest() -> None:
    with pytest.raises(FunctionUnknownError, match="did you mean 'cast_gzip'"):
        registry.load("cast_gzp")


def test_the_catalogue_describes_the_parameters() -> None:
    gzip = next(entry for entry in registry.catalogue() if entry.name == "cast_gzip")
    assert gzip.process_schema["properties"]["level"]["maximum"] == 9
    assert gzip.configure_schema["additionalProperties"] is False
