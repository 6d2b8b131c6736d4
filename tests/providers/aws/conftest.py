"""An emulated cloud for the tests of a process, as new for each, and a user's settings that lead to it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from acceleratorAPI.config import Configuration
from acceleratorAPI.providers.aws import launch, ready
from acceleratorAPI.providers.aws.provider import AwsProvider
from acceleratorAPI.testing.aws import AwsCloud

# A minute of an instance lasts a second.
TIME_SCALE = 60


_session = functools.cache(boto3.session.Session)


@pytest.fixture(scope="session")
def running_cloud() -> Iterator[AwsCloud]:
    with AwsCloud(time_scale=TIME_SCALE) as cloud:
        yield cloud


@pytest.fixture
def cloud(running_cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AwsCloud:
    running_cloud.reset()
    settings = {"STATE_DIR": str(tmp_path / "state"), "CSP_PROVIDER": "AWS", "CSP_LEASE_MINUTES": "60"}
    environment = {f"ACCELERATOR_{name}": value for name, value in settings.items()}
    for name, value in (running_cloud.environment() | environment).items():
        monkeypatch.setenv(name, value)
    # A session reads the descriptions of the services anew, which takes longer than most of these tests.
    monkeypatch.setattr(boto3.session, "Session", _session)
    monkeypatch.setattr(launch, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(ready, "FIRST_PAUSE_S", 0.05)
    return running_cloud


@pytest.fixture
def provider(cloud: AwsCloud) -> Callable[..., AwsProvider]:
    """A provider with more settings of [csp]."""

    def made(**settings: Any) -> AwsProvider:
        return AwsProvider(Configuration.load(None, {("csp", name): value for name, value in settings.items()}))

    return made


@pytest.fixture
def ec2(cloud: AwsCloud) -> Iterator[Any]:
    """As the account's owner sees it."""
    client = boto3.client("ec2", config=Config(retries={"total_max_attempts": 1}))
    yield client
    client.close()


def rules(ec2: Any) -> list[str]:
    """Who may reach what, of all groups that are not the default."""
    groups = ec2.describe_security_groups()["SecurityGroups"]
    return [
        f"{entry['CidrIp']}:{permission['FromPort']}"
        for group in groups
        if group["GroupName"] != "default"
        for permission in group["IpPermissions"]
        for entry in permission["IpRanges"]
    ]
