"""Instances run their user data and their units, and end as AWS ends them."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from acceleratorAPI.testing.aws import AwsCloud

WEB = """
cat > /etc/systemd/system/web.service <<UNIT
[Service]
ExecStart=python3 -m http.server 443 --directory /srv
Restart=always
[Install]
WantedBy=multi-user.target
UNIT
echo hello > /srv/index.html
systemctl daemon-reload
systemctl enable --now web
"""


def state_of(ec2: Any, instance_id: str) -> str:
    found: str = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]["State"]["Name"]
    return found


def page_at(address: str) -> bytes | None:
    try:
        with urllib.request.urlopen(f"http://{address}:443/", timeout=5) as answer:
            body: bytes = answer.read()
            return body
    except OSError:
        return None


@pytest.fixture
def group(ec2: Any) -> str:
    """A security group that lets this host in."""
    made: str = ec2.create_security_group(GroupName="caller", Description="caller")["GroupId"]
    permission = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}
    ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[permission])
    return made


def test_user_data_starts_a_unit_that_answers_at_the_public_address(
    cloud: AwsCloud, ec2: Any, launch: Callable[..., str], group: str
) -> None:
    instance_id = launch(WEB, SecurityGroupIds=[group])
    cloud.wait_for(lambda: cloud.instances("running"))
    (instance,) = cloud.instances()
    assert instance.public_ip is not None
    assert instance.public_ip.startswith("127.")
    assert cloud.wait_for(lambda: page_at(instance.public_ip or "")) == b"hello\n"
    ec2.revoke_security_group_ingress(
        GroupId=group,
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}],
    )
    assert page_at(instance.public_ip) is None
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert state_of(ec2, instance_id) == "shutting-down"
    cloud.wait_for(lambda: state_of(ec2, instance_id) == "terminated")
    assert cloud.instances()[0].processes == 0


def test_a_scheduled_shutdown_ends_it_as_its_launch_says(cloud: AwsCloud, ec2: Any, launch: Callable[..., str]) -> None:
    ends = launch("shutdown -P +1")
    stays = launch("shutdown -P +1", InstanceInitiatedShutdownBehavior="stop")
    cloud.wait_for(lambda: (state_of(ec2, ends), state_of(ec2, stays)) == ("terminated", "stopped"))
    reason = ec2.describe_instances(InstanceIds=[ends])["Reservations"][0]["Instances"][0]["StateReason"]
    assert reason["Code"] == "Client.InstanceInitiatedShutdown"
    assert [instance.processes for instance in cloud.instances()] == [0, 0]
