"""What a machine costs and whether the quota has room for it, said before it is launched; and the total at its end."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable
from datetime import date
from importlib.resources import files
from typing import Any

import boto3
import pytest

from acceleratorAPI import Accelerator
from acceleratorAPI.providers.aws import ready
from acceleratorAPI.providers.aws.provider import AwsProvider
from acceleratorAPI.providers.aws.troubles import LaunchRefusedError
from acceleratorAPI.providers.base import InstanceSpec
from acceleratorAPI.testing.aws import AwsCloud, Fault

SPEC = InstanceSpec("cast_gzip", os.getpid())


class LaunchedError(Exception):
    """Instead of the wait for the node."""


@pytest.fixture
def launch(
    cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch, provider: Callable[..., AwsProvider]
) -> Callable[..., None]:
    """Launches and ends an instance with these settings."""
    cloud.settings(boots=False)

    def stop(*_: object, **__: object) -> None:
        raise LaunchedError

    monkeypatch.setattr(ready, "wait_until_ready", stop)

    def launched(**settings: Any) -> None:
        with pytest.raises(LaunchedError):
            provider(**settings).create(SPEC)

    return launched


def price_said(caplog: pytest.LogCaptureFixture) -> str:
    (line,) = [record.message for record in caplog.records if " costs " in record.message or "price" in record.message]
    return line.partition(" s  ")[2]


def noted(cloud: AwsCloud) -> float:
    return float(cloud.instances()[-1].tags["acceleratorAPI:usd-per-hour"])


@pytest.fixture(autouse=True)
def followed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="acceleratorAPI.progress")


def test_the_price_is_that_of_the_price_list(
    cloud: AwsCloud, launch: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    launch(instance_type="c6i.2xlarge", region="eu-west-2")
    (asked,) = cloud.calls("GetProducts")
    told = {one["Field"]: one["Value"] for one in asked.parameters["Filters"]}
    assert (told["instanceType"], told["regionCode"]) == ("c6i.2xlarge", "eu-west-2")
    assert asked.region == "us-east-1"
    # Eight vCPUs at the emulated cloud's own price.
    assert price_said(caplog) == "c6i.2xlarge costs about $0.34 per hour (on demand)"
    assert noted(cloud) == 0.34
    names = [call.operation for call in cloud.calls()]
    assert names.index("GetProducts") < names.index("RunInstances")


def test_without_the_right_to_read_it_the_dated_table_counts_and_says_so(
    cloud: AwsCloud, launch: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    table = json.loads(files("acceleratorAPI.providers.aws").joinpath("prices.json").read_text())
    assert date.fromisoformat(table["date"]) <= date.today()  # noqa: DTZ011 - a day is enough
    assert "not read from AWS" in table["about"]
    cloud.plan(Fault("GetProducts", error="AccessDeniedException", times=0))
    launch(instance_type="f2.6xlarge")
    usd = table["usd_per_hour"]["f2.6xlarge"]
    assert price_said(caplog) == (
        f"f2.6xlarge costs about ${usd:.4g} per hour (on demand in {table['region']}, for orientation: not from AWS,"
        f" written {table['date']})"
    )
    assert noted(cloud) == usd


def test_a_price_that_nobody_knows_is_said_to_be_unknown_and_costs_no_launch(
    cloud: AwsCloud, launch: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    cloud.plan(Fault("GetProducts", error="InternalFailure", times=0))
    launch(instance_type="m7i.large")
    assert "price unknown" in price_said(caplog)
    assert noted(cloud) == 0
    cloud.clear_faults()


def test_the_price_of_spot_capacity_is_that_of_now(
    cloud: AwsCloud, launch: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    launch(spot="yes")
    (asked,) = cloud.calls("DescribeSpotPriceHistory")
    assert re.match(r"\d{4}-\d\d-\d\dT", asked.parameters["StartTime"])
    assert re.fullmatch(r"c6i\.xlarge costs about \$[\de.-]+ per hour \(spot now\)", price_said(caplog))


def test_the_total_is_said_at_the_end(cloud: AwsCloud) -> None:
    with Accelerator("cast_gzip", instance_type="c6i.2xlarge") as accelerator:
        accelerator.start(stop_mode="TERM")
        assert accelerator.instance is not None
        assert accelerator.instance.usd_per_hour == 0.34
        assert accelerator.instance.as_dict()["cost"] == "$0.00"
        told = str(accelerator.stop())
    assert re.search(r"is terminated \(0\.\d minutes at \$0\.34 per hour: about \$0\.00\d\d\)", told), told


def test_a_quota_without_room_is_said_before_anything_is_made(
    cloud: AwsCloud, provider: Callable[..., AwsProvider]
) -> None:
    cloud.settings(vcpu_limits={"standard": 256, "F": 8, "spot": 256})
    with pytest.raises(
        LaunchRefusedError,
        match=r"^AWS: f2\.6xlarge has 24 vCPUs, and of the 8 that the quota 'F' gives in us-east-1 8 are free; .*https://",
    ):
        provider(instance_type="f2.6xlarge").create(SPEC)
    made = {"CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "RunInstances"}
    assert not made & {call.operation for call in cloud.calls()}


def test_what_runs_in_the_account_takes_from_the_quota(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], launch: Callable[..., None]
) -> None:
    cloud.settings(vcpu_limits={"standard": 10, "F": 96, "spot": 256})
    others = boto3.client("ec2")
    image = others.describe_images(Owners=["self"])["Images"][0]["ImageId"]
    others.run_instances(ImageId=image, InstanceType="m5.2xlarge", MinCount=1, MaxCount=1)
    # Machines of another kind, and spot capacity, have a quota of their own.
    others.run_instances(ImageId=image, InstanceType="f2.6xlarge", MinCount=1, MaxCount=1)
    with pytest.raises(LaunchRefusedError, match=r"of the 10 that the quota 'standard' gives in us-east-1 2 are free"):
        provider().create(SPEC)
    launch(instance_type="c6i.large")
    launch(spot="yes")
    others.close()


@pytest.mark.parametrize("code", ["AccessDeniedException", "NoSuchResourceException", "TooManyRequestsException"])
def test_a_quota_that_may_not_be_asked_for_is_left_to_the_launch(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], code: str
) -> None:
    cloud.settings(vcpu_limits={"standard": 1, "F": 96, "spot": 256})
    cloud.plan(Fault("GetServiceQuota", error=code, times=0))
    with pytest.raises(LaunchRefusedError, match=r"VcpuLimitExceeded: .*quota is used up: ask for more at https://"):
        provider().create(SPEC)
    assert len(cloud.calls("RunInstances")) == 1


def test_without_room_the_next_region_is_asked(cloud: AwsCloud, launch: Callable[..., None]) -> None:
    cloud.settings(vcpu_limits={"standard": 4, "F": 96, "spot": 256})
    others = boto3.client("ec2", region_name="us-east-1")
    image = others.describe_images(Owners=["self"])["Images"][0]["ImageId"]
    others.run_instances(ImageId=image, InstanceType="c6i.xlarge", MinCount=1, MaxCount=1)
    others.close()
    launch(regions="us-west-2")
    assert [call.zone[:-1] for call in cloud.calls("RunInstances") if call.zone] == ["us-east-1", "us-west-2"]
