"""Each example of the user guide, run as its own script with the provider LOCAL and the real functions."""

from __future__ import annotations

import ast
import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from instances import list_instances

TEXT = b"the cat sat on the mat; concatenate, cat.\n" * 20000
REPLACED = TEXT.replace(b"the cat ", b"the dog ").replace(b", cat.", b", dog.").replace(b"mat;", b"rug;")

SIMPLE = """
from acceleratorAPI.acceleratorAPI import *
myaccel = AcceleratorClass(accelerator='cast_gzip')
show(myaccel.start())
show(myaccel.process(file_in='/path/myfile.dat',  file_out='/path/result.dat'))
show(myaccel.process(file_in='/path/myfile.dat',  file_out='/path/result.dat'))
show(myaccel.stop())
"""

CONFIGURED = """
from acceleratorAPI.acceleratorAPI import *
myaccel = AcceleratorClass(accelerator='axonerve_hyperfire')
show(myaccel.start(datafile='/path/configuration/file.csv'))
show(myaccel.process(file_in='/path/myfile.dat',  file_out='/path/result.dat'))
show(myaccel.process(file_in='/path/myfile.dat',  file_out='/path/result.dat'))
show(myaccel.stop())
"""

KEEPING = """
from acceleratorAPI.acceleratorAPI import *
myaccel = AcceleratorClass(accelerator='axonerve_hyperfire')
show(myaccel.start(datafile='/path/configuration/file.csv',stop_mode=KEEP))
show(myaccel.process(file_in='/path/myfile.dat',  file_out='/path/result.dat'))
show(myaccel.process(file_in='/path/myfile.dat',  file_out='/path/result.dat'))
show(myaccel.stop())
"""

REUSING = """
from acceleratorAPI.acceleratorAPI import *
myaccel = AcceleratorClass(accelerator='axonerve_hyperfire',instance_ip='<Address IP>')
show(myaccel.start(datafile='/path/configuration/file.csv',stop_mode=KEEP))
show(myaccel.process(file_in='/path/myfile.dat',  file_out='/path/result.dat'))
show(myaccel.process(file_in='/path/myfile.dat',  file_out='/path/result.dat'))
show(myaccel.stop())
"""

ALREADY_CONFIGURED = """
from acceleratorAPI.acceleratorAPI import *
myaccel = AcceleratorClass(accelerator='axonerve_hyperfire',instance_ip='<Address IP>')
show(myaccel.start(stop_mode=KEEP))
show(myaccel.process(file_in='/path/myfile.dat',  file_out='/path/result.dat'))
show(myaccel.process(file_in='/path/myfile.dat',  file_out='/path/result.dat'))
show(myaccel.stop())
"""

Answer = tuple[bool, dict[str, Any]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The ``/path`` of the guide."""
    (tmp_path / "configuration").mkdir()
    (tmp_path / "myfile.dat").write_bytes(TEXT)
    (tmp_path / "configuration" / "file.csv").write_bytes(b"cat,dog\nmat,rug\n")
    return tmp_path


def run(example: str, path: Path, address: str = "") -> list[Answer]:
    """Run an example in a process of its own; what its calls answered."""
    code = example.replace("/path/", f"{path}/").replace("<Address IP>", address)
    script = path / "example.py"
    script.write_text(f"def show(answer):\n    print(repr(answer))\n{code}", encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=path, timeout=120)
    assert done.stderr == ""
    assert done.returncode == 0
    return [ast.literal_eval(line) for line in done.stdout.splitlines()]


def all_well(answers: list[Answer]) -> None:
    for succeeded, answer in answers:
        assert succeeded, answer
        assert answer["app"]["status"] == 0
        assert isinstance(answer["app"]["msg"], str)
        assert isinstance(answer["app"]["specific"], dict)


def check_shapes(start: dict[str, Any], process: dict[str, Any], stop: dict[str, Any]) -> None:
    """The answers have the guide's shape."""
    assert sorted(start) == ["app", "url_config", "url_instance"]
    assert start["app"]["specific"]["details"]["elapsedTime"] >= 0
    assert start["url_instance"].startswith("http://127.0.0.1:")
    assert start["url_config"].startswith(start["url_instance"] + "/v1.0/configuration/")
    profiling = process["app"]["result-profiling"]
    assert profiling["backend"] == "cpu"
    assert profiling["kernel-time"] > 0
    assert profiling["Total bytes transferred"].endswith("B")
    assert "hw_statistics" in profiling
    assert not [name for name in profiling if name.startswith("FPGA")]
    assert sorted(stop) == ["app"]


def nothing_is_left(home: Path) -> None:
    assert list_instances() == []
    assert os.listdir(home / "state" / "acceleratorapi" / "instances") == []


def test_simple_example(path: Path, home: Path) -> None:
    answers = run(SIMPLE, path)
    all_well(answers)
    check_shapes(answers[0][1], answers[1][1], answers[3][1])
    assert gzip.decompress((path / "result.dat").read_bytes()) == TEXT
    nothing_is_left(home)


def test_simple_example_with_accelerator_configuration(path: Path, home: Path) -> None:
    answers = run(CONFIGURED, path)
    all_well(answers)
    check_shapes(answers[0][1], answers[1][1], answers[3][1])
    assert (path / "result.dat").read_bytes() == REPLACED
    nothing_is_left(home)


def test_keeping_an_instance_and_reusing_it(path: Path, home: Path) -> None:
    """Four processes: keep, reuse by address, reuse as configured by one that did not call stop, end."""
    answers = run(KEEPING, path)
    all_well(answers)
    url = answers[0][1]["url_instance"]
    (instance,) = list_instances()
    assert (instance.status, instance.url) == ("running", url)
    assert instance.id in answers[0][1]["app"]["msg"]
    assert instance.id in answers[3][1]["app"]["msg"] + str(answers[3][1]["app"]["specific"])

    # The one who kept it left its configuration there, too.
    (path / "result.dat").unlink()
    all_well(run(ALREADY_CONFIGURED.replace("show(myaccel.stop())", "show(myaccel.stop(KEEP))"), path, url))
    assert (path / "result.dat").read_bytes() == REPLACED

    for address in ("127.0.0.1", url, url.removeprefix("http://")):
        (path / "result.dat").unlink()
        all_well(run(REUSING, path, address))
        assert (path / "result.dat").read_bytes() == REPLACED

    without_stop = REUSING.replace("show(myaccel.stop())", "")
    configured = run(without_stop, path, "127.0.0.1")
    all_well(configured)
    (path / "result.dat").unlink()
    reused = run(ALREADY_CONFIGURED.replace("show(myaccel.stop())", "show(myaccel.stop(TERM))"), path, "127.0.0.1")
    all_well(reused)
    assert reused[0][1]["url_config"] == configured[0][1]["url_config"]
    assert (path / "result.dat").read_bytes() == REPLACED
    nothing_is_left(home)


def test_the_modern_example(path: Path, home: Path) -> None:
    example = """
from acceleratorAPI import Accelerator
with Accelerator('cast_gzip') as accelerator:
    accelerator.start()
    accelerator.process('/path/myfile.dat', '/path/result.dat')
"""
    assert run(example, path) == []
    assert gzip.decompress((path / "result.dat").read_bytes()) == TEXT
    nothing_is_left(home)
