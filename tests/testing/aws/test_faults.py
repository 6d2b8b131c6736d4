"""Faults strike where they were planned."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

from acceleratorAPI.testing.aws import AwsCloud, Call, Fault
from acceleratorAPI.testing.aws.faults import FaultPlan


def call_of(operation: str, **parameters: str) -> Call:
    return Call(1, "ec2", operation, "us-east-1", parameters, zone="us-east-1a")


def strikes(fault: Fault, *operations: str) -> list[bool]:
    plan = FaultPlan()
    plan.add(fault)
    return [plan.take(call_of(operation, A="b")) is not None for operation in operations]


def test_which_calls_are_struck() -> None:
    assert strikes(Fault("X", nth=2), "X", "Y", "X", "X") == [False, False, True, False]
    assert strikes(Fault("*", nth=2, times=2), "X", "Y", "Z", "X") == [False, True, True, False]
    assert strikes(Fault(times=0), "X", "Y", "Z") == [True, True, True]
    assert strikes(Fault(match="^Zone=us-east-1a$"), "X") == [True]
    assert strikes(Fault(match="^A=c$"), "X") == [False]
    assert strikes(Fault(service="sts"), "X") == [False]
    assert strikes(Fault(access_key="mine"), "X") == [False]


def test_a_fault_is_for_one_caller(cloud: AwsCloud, ec2: Any) -> None:
    cloud.plan(Fault(access_key="another", error="ExpiredToken", times=0))
    ec2.describe_vpcs()
    cloud.plan(Fault(access_key=cloud.environment()["AWS_ACCESS_KEY_ID"], error="ExpiredToken"))
    with pytest.raises(ClientError, match="ExpiredToken"):
        ec2.describe_vpcs()


def test_faults_count_apart() -> None:
    plan = FaultPlan()
    plan.add(Fault("X", error="A"))
    plan.add(Fault("X", nth=2, error="B"))
    struck = [plan.take(call_of("X")) for _ in range(3)]
    assert [fault and fault.error for fault in struck] == ["A", "B", None]


def test_an_error_is_answered_in_the_words_of_the_service(cloud: AwsCloud, client: Any) -> None:
    asked = {
        "ec2": lambda: client("ec2").describe_vpcs(),
        "sts": lambda: client("sts").get_caller_identity(),
        "iam": lambda: client("iam").get_role(RoleName="r"),
        "ssm": lambda: client("ssm").get_parameter(Name="p"),
        "s3": lambda: client("s3").list_buckets(),
        "pricing": lambda: client("pricing").get_products(ServiceCode="AmazonEC2"),
    }
    for service, ask in asked.items():
        cloud.plan(Fault(service=service, error="ExpiredToken", message="over"))
        with pytest.raises(ClientError, match="over") as caught:
            ask()
        assert caught.value.response["Error"]["Code"] == "ExpiredToken"
        assert cloud.calls()[-1].service == service
        assert cloud.calls()[-1].fault == "ExpiredToken"


def test_capacity_is_missing_in_one_zone(cloud: AwsCloud, launch: Any) -> None:
    cloud.settings(boots=False)
    cloud.plan(Fault("RunInstances", times=0, match="^Zone=us-east-1a$", error="InsufficientInstanceCapacity"))
    with pytest.raises(ClientError) as caught:
        launch(Placement={"AvailabilityZone": "us-east-1a"})
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    launch(Placement={"AvailabilityZone": "us-east-1b"})
    assert [(call.zone, call.error) for call in cloud.calls("ec2:RunInstances")] == [
        ("us-east-1a", "InsufficientInstanceCapacity"),
        ("us-east-1b", ""),
    ]


def test_a_lost_answer_leaves_the_work_done(cloud: AwsCloud, launch: Any) -> None:
    cloud.settings(boots=False)
    cloud.plan(Fault("RunInstances", lost=True))
    with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
        launch(ClientToken="t")
    (instance,) = cloud.instances()
    assert launch(ClientToken="t") == instance.id


def test_a_call_can_be_slow(cloud: AwsCloud, ec2: Any) -> None:
    cloud.plan(Fault("DescribeVpcs", delay_s=0.3))
    before = time.monotonic()
    ec2.describe_vpcs()
    assert time.monotonic() - before >= 0.3


CLIENT = """
import boto3
ec2 = boto3.client("ec2")
ec2.create_security_group(GroupName="first", Description="d")
ec2.create_security_group(GroupName="second", Description="d")
"""


@pytest.mark.parametrize(("when", "made"), [("before", {"first"}), ("after", {"first", "second"})])
def test_the_caller_is_killed(cloud: AwsCloud, ec2: Any, when: Any, made: set[str]) -> None:
    cloud.plan(Fault("CreateSecurityGroup", nth=2, kill=when))
    assert subprocess.run([sys.executable, "-c", CLIENT], check=False).returncode == -signal.SIGKILL
    groups = {group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]}
    assert groups - {"default"} == made


def test_every_call_is_logged(cloud: AwsCloud, ec2: Any, client: Any) -> None:
    client("s3").create_bucket(Bucket="bucket")
    client("s3").put_object(Bucket="bucket", Key="k", Body=b"x")
    client("s3").get_object(Bucket="bucket", Key="k")
    client("sts").get_caller_identity()
    ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])
    logged = cloud.calls()
    assert [call.name for call in logged] == [
        "s3:CreateBucket",
        "s3:PutObject",
        "s3:GetObject",
        "sts:GetCallerIdentity",
        "ec2:DescribeSubnets",
    ]
    assert [call.number for call in logged] == [1, 2, 3, 4, 5]
    assert logged[-1].parameters["Filter.1.Name"] == "default-for-az"
    assert {call.access_key for call in logged} == {"emulated"}
