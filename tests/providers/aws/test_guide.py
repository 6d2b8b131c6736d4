"""The five examples of the user guide with the provider AWS: the same scripts, with the guide's ways to name it."""

from __future__ import annotations

import gzip
import os
import subprocess
import sysconfig
import tarfile
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


def pack(target: Path, size_bytes: int) -> None:
    """A tar file of ``size_bytes`` at least, of what Python and its packages are made of."""
    places = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib", "include")]
    names = (
        os.path.join(folder, name)
        for place in dict.fromkeys(places)
        for folder, _, files in os.walk(place)
        for name in sorted(files)
    )
    with tarfile.open(target, "w") as archive:
        for name in names:
            archive.add(name, recursive=False)
            if archive.offset >= size_bytes:
                return
    raise AssertionError(f"{places} have only {archive.offset} bytes")


def test_simple_examples(cloud: AwsCloud, path: Path) -> None:
    answers = run(SIMPLE, path)
    all_well(answers)
    assert answers[0][1]["url_instance"].startswith("https://127.")
    assert gzip.decompress((path / "result.dat").read_bytes()) == TEXT
    all_well(run(CONFIGURED, path))
    assert (path / "result.dat").read_bytes() == REPLACED
    assert len(cloud.instances()) == 2
    assert cloud.instances("pending", "running", "stopped") == []


def test_a_real_file_of_200_mb_is_packed_as_gzip_unpacks_it(cloud: AwsCloud, path: Path) -> None:
    pack(path / "myfile.dat", 200_000_000)
    answers = run(SIMPLE.replace("accelerator='cast_gzip'", "accelerator='cast_gzip',provider='AWS'"), path)
    all_well(answers)
    with subprocess.Popen(["gzip", "-dc", path / "result.dat"], stdout=subprocess.PIPE) as unpacking:
        subprocess.run(["cmp", "-", path / "myfile.dat"], stdin=unpacking.stdout, check=True)
    assert unpacking.returncode == 0
    assert (path / "result.dat").stat().st_size < (path / "myfile.dat").stat().st_size / 2
    assert len(cloud.instances()) == 1
    assert cloud.instances("pending", "running", "stopped") == []


def test_keeping_an_instance_and_reusing_it(cloud: AwsCloud, path: Path) -> None:
    """Five processes: keep; reuse by address, by URL and by id; reuse as configured, and end."""
    all_well(run(KEEPING, path))
    (instance,) = cloud.instances("running")
    address = instance.public_ip or ""
    for named in (
        REUSING.replace("<Address IP>", f"https://{address}"),
        REUSING.replace("instance_ip='<Address IP>'", f"provider='AWS',region='us-east-1',instance_id='{instance.id}'"),
        REUSING.replace("show(myaccel.stop())", "").replace("<Address IP>", address),
    ):
        (path / "result.dat").unlink()
        configured = run(named, path)
        all_well(configured)
        assert (path / "result.dat").read_bytes() == REPLACED
        assert [found.id for found in cloud.instances("running")] == [instance.id]
    reused = run(ALREADY_CONFIGURED.replace("myaccel.stop()", "myaccel.stop(TERM)"), path, address)
    all_well(reused)
    assert reused[0][1]["url_config"] == configured[0][1]["url_config"]
    assert len(cloud.instances()) == 1
    assert cloud.instances("pending", "running", "stopped") == []
