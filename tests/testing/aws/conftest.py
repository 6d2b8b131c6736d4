"""One emulated cloud for the tests of a process, as new for each; a user for calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from acceleratorAPI.testing.aws import AwsCloud


@pytest.fixture(scope="session")
def running_cloud() -> Iterator[AwsCloud]:
    with AwsCloud(time_scale=60) as cloud:
        yield cloud


@pytest.fixture
def cloud(running_cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> AwsCloud:
    running_cloud.reset()
    for name, value in running_cloud.environment().items():
        monkeypatch.setenv(name, value)
    return running_cloud


@pytest.fixture
def client(cloud: AwsCloud) -> Iterator[Callable[[str], Any]]:
    """A client of a service that tries once."""
    made: dict[str, Any] = {}

    def of(service: str) -> Any:
        if service not in made:
            made[service] = boto3.session.Session().client(service, config=Config(retries={"total_max_attempts": 1}))
        return made[service]

    yield of
    for one in made.values():
        one.close()


@pytest.fixture
def ec2(client: Callable[[str], Any]) -> Any:
    return client("ec2")


@pytest.fixture
def launch(cloud: AwsCloud, ec2: Any, client: Callable[[str], Any]) -> Callable[..., str]:
    """Launch an instance that runs a script; its id."""
    name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"

    def run(script: str = "", **request: Any) -> str:
        image = client("ssm").get_parameter(Name=name)["Parameter"]["Value"]
        wanted = {
            "ImageId": image, "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1,
            "InstanceInitiatedShutdownBehavior": "terminate", "UserData": f"#!/bin/sh\nset -ex\n{script}\n",
        }  # fmt: skip
        found: str = ec2.run_instances(**wanted | request)["Instances"][0]["InstanceId"]
        return found

    return run
