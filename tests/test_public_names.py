"""What the package offers, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import acceleratorAPI
import acceleratorAPI.acceleratorAPI


def modules_after(statement: str) -> set[str]:
    """Every module that is loaded after ``statement`` in a new interpreter."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_public_names_are_sorted_and_there() -> None:
    for module in (acceleratorAPI, acceleratorAPI.acceleratorAPI):
        assert module.__all__ == sorted(module.__all__)
        for name in module.__all__:
            assert getattr(module, name) is not None
    assert set(acceleratorAPI.__all__) <= set(dir(acceleratorAPI))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Acelerator'"):
        acceleratorAPI.Acelerator  # noqa: B018


def test_importing_the_package_loads_next_to_nothing() -> None:
    loaded = modules_after("import acceleratorAPI") - modules_after("pass")
    assert {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names} == {"acceleratorAPI"}


@pytest.mark.parametrize(
    "statement", ["from acceleratorAPI.acceleratorAPI import *", "from acceleratorAPI import Accelerator"]
)
def test_the_faces_load_no_server_no_cloud_and_no_function(statement: str) -> None:
    loaded = modules_after(statement)
    foreign = {"fastapi", "starlette", "uvicorn", "boto3", "openstack", "django", "typer", "rich", "isal", "zlib_ng"}
    assert not loaded & foreign
    assert not {name for name in loaded if name.startswith(("acceleratorAPI.node", "acceleratorAPI.functions"))}
