"""Where AWS says no, or not yet."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from clocks import WrongClock

from acceleratorAPI.errors import InputError
from acceleratorAPI.testing.aws import AwsCloud


def refused(call: Callable[..., Any], *arguments: Any, **request: Any) -> str:
    """The error code that a call is answered with."""
    with pytest.raises(ClientError) as caught:
        call(*arguments, **request)
    code: str = caught.value.response["Error"]["Code"]
    return code


@pytest.fixture
def idle(cloud: AwsCloud) -> AwsCloud:
    """A cloud whose instances run nothing, which is quicker."""
    cloud.settings(boots=False)
    return cloud


def test_a_token_launches_once_in_a_zone(idle: AwsCloud, ec2: Any, launch: Callable[..., str]) -> None:
    first = launch(ClientToken="t")
    assert launch(ClientToken="t") == first
    assert refused(launch, ClientToken="t", InstanceType="t3.micro") == "IdempotentParameterMismatch"
    elsewhere = launch(ClientToken="t", Placement={"AvailabilityZone": "us-east-1b"})
    assert elsewhere != first
    assert len(idle.instances()) == 2
    ec2.terminate_instances(InstanceIds=[first])
    assert refused(launch, ClientToken="t") == "IdempotentInstanceTerminated"


def test_user_data_has_a_limit(idle: AwsCloud, launch: Callable[..., str]) -> None:
    assert refused(launch, UserData="#" * 16385) == "InvalidParameterValue"
    launch(UserData="#" * 16384)


def test_limits_count_running_vcpus(idle: AwsCloud, ec2: Any, launch: Callable[..., str]) -> None:
    idle.settings(vcpu_limits={"standard": 2, "F": 0, "spot": 0})
    first = launch()
    assert refused(launch) == "VcpuLimitExceeded"
    assert refused(launch, InstanceType="f2.6xlarge") == "VcpuLimitExceeded"
    spot = {"MarketType": "spot"}
    assert refused(launch, InstanceMarketOptions=spot) == "MaxSpotInstanceCountExceeded"
    ec2.terminate_instances(InstanceIds=[first])
    launch()


def test_a_type_that_the_zone_does_not_have(idle: AwsCloud, launch: Callable[..., str]) -> None:
    assert refused(launch, InstanceType="f2.6xlarge", Placement={"AvailabilityZone": "us-east-1f"}) == "Unsupported"
    assert refused(launch, InstanceType="f1.2xlarge") == "InvalidInstanceType.NotFound"


def test_a_group_in_use_stays(idle: AwsCloud, ec2: Any, launch: Callable[..., str]) -> None:
    group = ec2.create_security_group(GroupName="g", Description="g")["GroupId"]
    instance_id = launch(SecurityGroupIds=[group])
    assert refused(ec2.delete_security_group, GroupId=group) == "DependencyViolation"
    ec2.terminate_instances(InstanceIds=[instance_id])
    idle.wait_for(lambda: idle.instances("terminated"))
    ec2.delete_security_group(GroupId=group)


def test_states_allow_what_they_allow(idle: AwsCloud, ec2: Any, launch: Callable[..., str]) -> None:
    instance_id = launch()
    spot = launch(InstanceMarketOptions={"MarketType": "spot"})
    assert refused(ec2.stop_instances, InstanceIds=[spot]) == "UnsupportedOperation"
    ec2.stop_instances(InstanceIds=[instance_id])
    assert refused(ec2.start_instances, InstanceIds=[instance_id]) == "IncorrectInstanceState"
    idle.wait_for(lambda: idle.instances("stopped"))
    ec2.terminate_instances(InstanceIds=[instance_id])
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert refused(ec2.stop_instances, InstanceIds=[instance_id]) == "IncorrectInstanceState"


def test_a_new_instance_is_seen_late(idle: AwsCloud, ec2: Any, launch: Callable[..., str]) -> None:
    old = launch()
    idle.settings(instances_lag=2)
    new = launch(TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "sid", "Value": "1"}]}])
    assert refused(ec2.describe_instances, InstanceIds=[new]) == "InvalidInstanceID.NotFound"
    listed = ec2.describe_instances()["Reservations"]
    assert [instance["InstanceId"] for entry in listed for instance in entry["Instances"]] == [old]
    tagged = ec2.describe_instances(Filters=[{"Name": "tag:sid", "Values": ["1"]}])["Reservations"]
    assert tagged[0]["Instances"][0]["InstanceId"] == new


def test_what_a_launch_needs_is_seen_late(
    idle: AwsCloud, ec2: Any, client: Callable[[str], Any], launch: Callable[..., str]
) -> None:
    idle.settings(groups_lag=1, keys_lag=1, profiles_lag=1)
    group = ec2.create_security_group(GroupName="g", Description="g")["GroupId"]
    ec2.create_key_pair(KeyName="k")
    client("iam").create_instance_profile(InstanceProfileName="p")
    request: dict[str, Any] = {"SecurityGroupIds": [group], "KeyName": "k", "IamInstanceProfile": {"Name": "p"}}
    codes = {refused(launch, **request) for _ in range(3)}
    assert codes == {"InvalidParameterValue", "InvalidKeyPair.NotFound", "InvalidGroup.NotFound"}
    launch(**request)


def test_interfaces_get_their_tags(idle: AwsCloud, ec2: Any, launch: Callable[..., str]) -> None:
    tags = [{"Key": "sid", "Value": "1"}]
    instance_id = launch(TagSpecifications=[{"ResourceType": "network-interface", "Tags": tags}])
    filters = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
    assert ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"][0]["TagSet"] == tags


def test_answers_that_moto_lacks(idle: AwsCloud, ec2: Any, client: Callable[[str], Any]) -> None:
    ssm = client("ssm")
    names = [
        "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",
        "/aws/service/debian/release/12/latest/arm64",
    ]
    found = {parameter["Name"]: parameter["Value"] for parameter in ssm.get_parameters(Names=names)["Parameters"]}
    one = ssm.get_parameter(Name=names[1])["Parameter"]["Value"]
    assert found[names[1]] == one
    (image,) = ec2.describe_images(ImageIds=[found[names[0]]])["Images"]
    assert (image["Architecture"], image["OwnerId"]) == ("x86_64", "099720109477")
    filters = [{"Type": "TERM_MATCH", "Field": "instanceType", "Value": "f2.6xlarge"}]
    assert "pricePerUnit" in client("pricing").get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"][0]
    quota = client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-74FC7D96")["Quota"]["Value"]
    assert quota == 96
    wanted = [{"Name": "fpga-image-global-id", "Values": ["agfi-0123456789abcdef0"]}]
    assert len(ec2.describe_fpga_images(Filters=wanted)["FpgaImages"]) == 1
    wanted[0]["Values"] = ["agfi-00000000000000000"]
    assert ec2.describe_fpga_images(Filters=wanted)["FpgaImages"] == []
    offered = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["f2.*"]}]
    )["InstanceTypeOfferings"]
    assert {entry["InstanceType"] for entry in offered} == {"f2.6xlarge", "f2.12xlarge", "f2.48xlarge"}


def test_an_unknown_setting_is_refused(idle: AwsCloud) -> None:
    with pytest.raises(InputError, match="did you mean 'groups_lag'"):
        idle.settings(group_lag=1)


WRONG_CLOCK = """
import sys, boto3
from botocore.exceptions import ClientError
for service, ask in (("ec2", "describe_vpcs"), ("iam", "list_roles"), ("s3", "list_buckets")):
    try:
        getattr(boto3.client(service), ask)()
        print("fine")
    except ClientError as error:
        print(error.response["Error"]["Code"])
"""


@pytest.mark.parametrize(
    ("seconds", "answers"),
    [
        (600, ["fine", "fine", "fine"]),
        (86400, ["RequestExpired", "SignatureDoesNotMatch", "RequestTimeTooSkewed"]),
        (-86400, ["RequestExpired", "SignatureDoesNotMatch", "RequestTimeTooSkewed"]),
    ],
)
@pytest.mark.usefixtures("cloud")
def test_a_caller_whose_clock_is_wrong_is_refused(tmp_path: Path, seconds: int, answers: list[str]) -> None:
    clock = WrongClock(tmp_path)
    clock.set(seconds)
    done = subprocess.run(
        [sys.executable, "-c", WRONG_CLOCK], env=os.environ | clock.environment(), check=True, capture_output=True
    )
    assert done.stdout.decode().split() == answers
