"""Instances run their user data and their units, and end as AWS ends them."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from acceleratorAPI.errors import InputError
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


def test_a_process_of_an_instance_is_killed_and_its_unit_starts_it_again(
    cloud: AwsCloud, launch: Callable[..., str], group: str
) -> None:
    instance_id = launch(WEB, SecurityGroupIds=[group])
    address = cloud.wait_for(lambda: cloud.instances("running"))[0].public_ip
    cloud.wait_for(lambda: page_at(address))
    cloud.act(instance_id, "kill", command="http.server 443")
    with pytest.raises(InputError, match="no process 'nothing of that name'"):
        cloud.act(instance_id, "kill", command="nothing of that name")
    assert cloud.wait_for(lambda: page_at(address)) == b"hello\n"
    assert cloud.console(instance_id).count("web") >= 1


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


def test_a_stopped_instance_boots_its_units_again_and_not_its_user_data(
    cloud: AwsCloud, ec2: Any, launch: Callable[..., str], group: str
) -> None:
    instance_id = launch(f"{WEB}\necho ran >> /var/log/ran", SecurityGroupIds=[group])
    address = cloud.wait_for(lambda: running_address(cloud))
    cloud.wait_for(lambda: page_at(address))
    ec2.stop_instances(InstanceIds=[instance_id])
    cloud.wait_for(lambda: cloud.instances("stopped"))
    assert cloud.instances()[0].processes == 0
    assert page_at(address) is None
    ec2.start_instances(InstanceIds=[instance_id])
    again = cloud.wait_for(lambda: running_address(cloud))
    assert again != address
    assert cloud.wait_for(lambda: page_at(again)) == b"hello\n"
    ec2.reboot_instances(InstanceIds=[instance_id])
    cloud.wait_for(lambda: cloud.console(instance_id).count("booting") == 3 and page_at(again))
    assert (Path(cloud.instances()[0].folder) / "disk/var/log/ran").read_text() == "ran\n"


def running_address(cloud: AwsCloud) -> str | None:
    found = cloud.instances("running")
    return found[0].public_ip if found else None


SEES = """
T=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
get() { curl -s -o /dev/stdout -w ' %{http_code}\\n' "$@"; }
set +x
echo "without $(get http://169.254.169.254/latest/meta-data/instance-id)"
for name in instance-id public-ipv4 placement/region tags/instance/sid nothing; do
    echo "$name $(get -H "X-aws-ec2-metadata-token: $T" http://169.254.169.254/latest/meta-data/$name)"
done
echo "host $(hostname) $(ls /etc/systemd/system | wc -l) $(ls -A /home | wc -l)"
echo "python $(/opt/acceleratorapi/bin/python -c 'import acceleratorAPI; print(acceleratorAPI.__name__)')"
echo "uplink $(curl -s -m 2 http://198.51.100.1/ >/dev/null || echo $?)"
echo "console" | tee /dev/console > /dev/null
echo "cloud $(curl -s $ENDPOINT/_emulator/checkip)"
"""


def test_what_an_instance_sees(cloud: AwsCloud, ec2: Any, launch: Callable[..., str]) -> None:
    (image,) = ec2.describe_images(Filters=[{"Name": "name", "Values": ["acceleratorapi-amd64"]}])["Images"]
    instance_id = launch(
        f"ENDPOINT={cloud.endpoint}\n{SEES}",
        ImageId=image["ImageId"],
        MetadataOptions={"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "sid", "Value": "7"}]}],
    )
    cloud.wait_for(lambda: "cloud-init: finished" in (cloud.console(instance_id) if cloud.instances()[0].ready else ""))
    (instance,) = cloud.instances()
    lines = cloud.console(instance_id).splitlines()
    assert {
        "without  401",
        f"instance-id {instance_id} 200",
        f"public-ipv4 {instance.public_ip} 200",
        "placement/region us-east-1 200",
        "tags/instance/sid 7 200",
        "nothing  404",
        f"host ip-{instance.private_ip.replace('.', '-')} 0 0",
        "python acceleratorAPI",
        "console",
        "cloud 127.0.0.1",
        "uplink 7",
    } - set(lines) == set(), "\n".join(lines)
    told = ec2.get_console_output(InstanceId=instance_id)["Output"]
    assert told.splitlines()[-1] == lines[-1]


WAYS_OUT = [
    "poweroff",
    "systemctl poweroff",
    "poweroff -f",
    "shutdown -P now",
    "systemd-run --on-active=60 systemctl poweroff",
]


def test_every_way_out_leads_out_and_only_out_of_the_instance(
    cloud: AwsCloud, ec2: Any, launch: Callable[..., str]
) -> None:
    host = (socket.gethostname(), Path("/proc/sys/kernel/panic").read_text())
    ways = [*WAYS_OUT, *(["echo o > /proc/sysrq-trigger"] if Path("/proc/sysrq-trigger").exists() else [])]
    ids = [launch(f"sysctl -w kernel.panic=77; hostname other\n{way}") for way in ways]
    stays = launch("halt; shutdown +2; shutdown -c")
    cloud.wait_for(lambda: [state_of(ec2, one) for one in ids] == ["terminated"] * len(ways))
    assert state_of(ec2, stays) == "running"
    assert host == (socket.gethostname(), Path("/proc/sys/kernel/panic").read_text())


def test_a_jump_of_the_clock_ends_what_was_to_end_later(cloud: AwsCloud, ec2: Any, launch: Callable[..., str]) -> None:
    instance_id = launch("shutdown -P +600")
    cloud.wait_for(lambda: cloud.instances()[0].ready and "poweroff in 600 min" in cloud.console(instance_id))
    cloud.act(instance_id, "jump", seconds=300 * 60)
    assert state_of(ec2, instance_id) == "running"
    cloud.act(instance_id, "jump", seconds=300 * 60)
    cloud.wait_for(lambda: state_of(ec2, instance_id) == "terminated")


def test_an_instance_that_crashed_is_running_and_impaired(
    cloud: AwsCloud, ec2: Any, launch: Callable[..., str]
) -> None:
    instance_id = launch("sleep 1000")
    cloud.wait_for(lambda: cloud.instances()[0].ready)
    cloud.act(instance_id, "crash")
    cloud.wait_for(lambda: cloud.instances()[0].impaired)
    (status,) = ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"]
    assert status["InstanceStatus"]["Status"] == "impaired"
    assert (cloud.instances()[0].state, cloud.instances()[0].processes) == ("running", 0)
    ec2.terminate_instances(InstanceIds=[instance_id])
    cloud.wait_for(lambda: cloud.instances("terminated"))


def test_a_spot_instance_is_told_before_it_is_taken(cloud: AwsCloud, ec2: Any, launch: Callable[..., str]) -> None:
    script = """
    T=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
    until curl -sf -H "X-aws-ec2-metadata-token: $T" http://169.254.169.254/latest/meta-data/spot/instance-action
    do sleep 0.05; done"""
    instance_id = launch(script, InstanceMarketOptions={"MarketType": "spot"})
    cloud.wait_for(lambda: cloud.instances()[0].ready)
    cloud.act(instance_id, "interrupt")
    cloud.wait_for(lambda: '"action": "terminate"' in cloud.console(instance_id))
    cloud.wait_for(lambda: state_of(ec2, instance_id) == "terminated")
    reason = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]["StateReason"]
    assert reason["Code"] == "Server.SpotInstanceTermination"


def test_a_cut_network_keeps_what_was_sent(cloud: AwsCloud, ec2: Any, launch: Callable[..., str], group: str) -> None:
    echo = "systemd-run --unit=echo python3 -c '{}'".format(
        'import socket; s = socket.create_server(("", 443)); c = s.accept()[0]\nwhile True: c.sendall(c.recv(65536))'
    )
    instance_id = launch(echo, SecurityGroupIds=[group])
    address = cloud.wait_for(lambda: running_address(cloud))

    def connected() -> socket.socket | None:
        try:
            return socket.create_connection((address, 443), 5)
        except OSError:
            return None

    with cloud.wait_for(connected) as connection:
        connection.sendall(b"one")
        assert connection.recv(100) == b"one"
        cloud.act(instance_id, "cut")
        connection.settimeout(0.3)
        connection.sendall(b"two")
        with pytest.raises(TimeoutError):
            connection.recv(100)
        cloud.act(instance_id, "mend")
        connection.settimeout(5)
        assert connection.recv(100) == b"two"


@pytest.fixture(scope="module")
def unprivileged() -> Iterator[AwsCloud]:
    probe = subprocess.run([shutil.which("unshare") or "unshare", "-Ur", "true"], check=False)
    if probe.returncode:
        pytest.skip("this host gives nobody a user namespace")
    with AwsCloud(time_scale=60, isolation="user") as cloud:
        yield cloud


def test_without_root_it_runs_all_the_same(unprivileged: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    for name, value in unprivileged.environment().items():
        monkeypatch.setenv(name, value)
    with contextlib.closing(boto3.client("ec2")) as ec2:
        run_unprivileged(unprivileged, ec2)


def run_unprivileged(unprivileged: AwsCloud, ec2: Any) -> None:
    (image,) = ec2.describe_images(Filters=[{"Name": "name", "Values": ["acceleratorapi-amd64"]}])["Images"]
    script = f"#!/bin/sh\nset -e\nuseradd -r runner\n{WEB.replace('[Service]', '[Service]{}User=runner')}\nshutdown +1"
    ec2.run_instances(
        ImageId=image["ImageId"], InstanceType="t3.small", MinCount=1, MaxCount=1,
        UserData=script.format("\n").replace("443", "8443"), InstanceInitiatedShutdownBehavior="terminate",
    )  # fmt: skip
    unprivileged.wait_for(lambda: unprivileged.instances("terminated"))
    (instance,) = unprivileged.instances()
    assert "the script ended with 0" in unprivileged.console(instance.id)
    assert "web.service" not in unprivileged.console(instance.id)
