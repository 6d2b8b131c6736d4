"""The five examples of the user guide with the provider AWS: the same scripts, other settings."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from test_guide_examples import ALREADY_CONFIGURED, CONFIGURED, KEEPING, REPLACED, REUSING, SIMPLE, TEXT, all_well, run

from acceleratorAPI.testing.aws import AwsCloud


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The ``/path`` of the guide."""
    (tmp_path / "configuration").mkdir()
    (tmp_path / "myfile.dat").write_bytes(TEXT)
    (tmp_path / "configuration" / "file.csv").write_bytes(b"cat,dog\nmat,rug\n")
    return tmp_path


def test_simple_examples(cloud: AwsCloud, path: Path) -> None:
    answers = run(SIMPLE, path)
    all_well(answers)
    assert answers[0][1]["url_instance"].startswith("https://127.")
    assert gzip.decompress((path / "result.dat").read_bytes()) == TEXT
    all_well(run(CONFIGURED, path))
    assert (path / "result.dat").read_bytes() == REPLACED
    assert len(cloud.instances()) == 2
    assert cloud.instances("pending", "running", "stopped") == []


def test_keeping_an_instance_and_reusing_it(cloud: AwsCloud, path: Path) -> None:
    all_well(run(KEEPING, path))
    (instance,) = cloud.instances("running")
    address = instance.public_ip or ""
    (path / "result.dat").unlink()
    configured = run(REUSING.replace("show(myaccel.stop())", ""), path, address)
    all_well(configured)
    assert (path / "result.dat").read_bytes() == REPLACED
    reused = run(ALREADY_CONFIGURED.replace("myaccel.stop()", "myaccel.stop(TERM)"), path, address)
    all_well(reused)
    assert reused[0][1]["url_config"] == configured[0][1]["url_config"]
    assert len(cloud.instances()) == 1
    assert cloud.instances("pending", "running", "stopped") == []
