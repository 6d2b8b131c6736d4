"""How the node gets on an instance: each way, on instances that have nothing, from wheels of what is installed here."""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from wheels import of_all_needed

from acceleratorAPI import Accelerator
from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import ConfigurationError, FileAccessError, InstanceError
from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.providers.aws.package import find_package
from acceleratorAPI.providers.aws.policy import policy
from acceleratorAPI.providers.aws.provider import AwsProvider
from acceleratorAPI.providers.base import InstanceSpec
from acceleratorAPI.testing.aws import AwsCloud

from .conftest import TIME_SCALE

DEBIAN = "/aws/service/debian/release/12/latest/amd64"
BUCKET = "my-wheels"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a package index."""
    folder = tmp_path_factory.mktemp("wheels")
    of_all_needed("acceleratorAPI", folder)
    return folder


@pytest.fixture(scope="module")
def own(wheels: Path) -> Path:
    (found,) = wheels.glob("acceleratorapi-*.whl")
    return found


@pytest.fixture(scope="module")
def running_cloud(wheels: Path) -> Iterator[AwsCloud]:
    """One with a package index."""
    # An installation takes as long as it takes: the first deadline of an instance must not come before.
    with AwsCloud(time_scale=TIME_SCALE / 60, wheels=wheels) as cloud:
        yield cloud


@pytest.fixture
def bare(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AwsCloud:
    """Instances have nothing but this very Python, which the wheels are for."""
    script = tmp_path / "init"
    python = "/usr/local/bin/python3.13"  # the first that is looked for
    run = f'exec {sys._base_executable} "$@"'  # type: ignore[attr-defined]
    quicker = "printf '[install]\\ncompile = no\\n' >> /etc/pip.conf"
    made = f"printf '%s\\n' '#!/bin/sh' '{run}' > {python}\nchmod 755 {python}"
    script.write_text(f"#!/bin/sh\n{made}\n{quicker}\n")
    monkeypatch.setenv("ACCELERATOR_CSP_INIT_SCRIPT", str(script))
    monkeypatch.setenv("ACCELERATOR_CSP_IMAGE", DEBIAN)
    return cloud


@pytest.fixture
def bucket(cloud: AwsCloud) -> Iterator[Any]:
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    client.close()


def works(cloud: AwsCloud) -> str:
    """An instance does a job with what it has installed; its console."""
    with Accelerator("cast_gzip") as accelerator:
        started = accelerator.start(stop_mode="TERM")
        assert gzip.decompress(accelerator.process(b"x" * 1000).data or b"") == b"x" * 1000
        return cloud.console(started.instance_id or "")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_default_is_this_very_version_from_the_package_index(bare: AwsCloud, own: Path) -> None:
    assert f"installing acceleratorAPI=={own.name.split('-')[1]}\n" in works(bare)


def test_a_wheel_behind_a_url_with_its_digest(
    bare: AwsCloud, own: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.upload_file(str(own), BUCKET, own.name, ExtraArgs={"ACL": "public-read"})
    url = f"{bare.endpoint}/{BUCKET}/{own.name}"
    monkeypatch.setenv("ACCELERATOR_CSP_NODE_PACKAGE", f"{url}#sha256={digest(own).upper()}")
    assert f"installing {own.name}\n" in works(bare)


def test_a_wheel_of_this_machine_goes_by_the_users_bucket(
    bare: AwsCloud, own: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATOR_CSP_NODE_PACKAGE", str(own))
    monkeypatch.setenv("ACCELERATOR_CSP_NODE_BUCKET", BUCKET)
    assert f"installing {own.name}\n" in works(bare)
    (kept,) = bucket.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert kept["Key"] == f"acceleratorapi/{digest(own)[:16]}/{own.name}"
    (launched,) = bare.calls("RunInstances")
    assert "emulated" not in launched.parameters["UserData"]


@pytest.fixture
def not_booted(cloud: AwsCloud) -> AwsCloud:
    cloud.settings(boots=False)
    return cloud


def test_another_wheel_than_was_named_ends_the_instance_at_once(
    bare: AwsCloud, own: Path, bucket: Any, provider: Callable[..., AwsProvider]
) -> None:
    bucket.put_object(Bucket=BUCKET, Key=own.name, Body=own.read_bytes() + b"and more")
    with pytest.raises(InstanceError, match=f"setup failed: line .*{own.name} has another SHA-256 than {digest(own)}"):
        provider(node_package=f"s3://{BUCKET}/{own.name}#sha256={digest(own)}").create(
            InstanceSpec("cast_gzip", os.getpid())
        )
    bare.wait_for(lambda: not bare.instances("pending", "running"))


def test_a_wheel_built_anew_under_the_same_name_is_copied_anew(
    not_booted: AwsCloud, bucket: Any, tmp_path: Path
) -> None:
    path = tmp_path / "acceleratorapi-1.0-py3-none-any.whl"
    for body in (b"one", b"two", b"two"):
        path.write_bytes(body)
        found = find_package(Cloud(Configuration.load()), str(path), BUCKET)
        assert found.sha256 == digest(path)
        assert found.url.startswith(f"{not_booted.endpoint}/{BUCKET}/acceleratorapi/{digest(path)[:16]}/")
    assert len(bucket.list_objects_v2(Bucket=BUCKET)["Contents"]) == 2
    assert len(not_booted.calls("PutObject")) == 2


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("http://example.org/a-1.whl", ConfigurationError, "use https, or #sha256="),
        ("https://example.org/a-1.whl#sha256=12", ConfigurationError, "64 hexadecimal digits"),
        ("https://example.org/a-1.whl#egg=a", ConfigurationError, "64 hexadecimal digits"),
        ("https://example.org/a.tar.gz?secret=x", ConfigurationError, "a.tar.gz': the name of a wheel ends in .whl"),
        ("s3://bucket/folder/", ConfigurationError, "the name of a wheel ends in .whl"),
        ("--index-url=https://example.org/ a", ConfigurationError, "use a requirement"),
        ("/nonexistent/a-1.whl", FileAccessError, "cannot read '/nonexistent/a-1.whl'"),
    ],
)
def test_what_is_no_package_is_said_before_anything_is_made(
    not_booted: AwsCloud, provider: Callable[..., AwsProvider], given: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as told:
        provider(node_package=given, node_bucket=BUCKET).create(InstanceSpec("cast_gzip", os.getpid()))
    assert message in str(told.value)
    assert "secret" not in str(told.value)
    assert not_booted.calls("RunInstances") == not_booted.calls("CreateSecurityGroup") == []


def test_the_policy_allows_the_one_wheel() -> None:
    given = Configuration.load(None, {("csp", "node_package"): f"s3://{BUCKET}/a/b.whl#sha256={'0' * 64}"})
    (statement,) = [one for one in policy(given)["Statement"] if one["Sid"] == "Wheel"]
    assert statement["Action"] == ["s3:GetObject"]
    assert statement["Resource"] == [f"arn:aws:s3:::{BUCKET}/a/b.whl"]
