"""Instances without namespaces: their scripts are rewritten, and still run and end."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import boto3
import psutil
import pytest

from acceleratorAPI.testing.aws import AwsCloud
from acceleratorAPI.testing.aws.shared import rewrite


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("cat > /etc/systemd/system/a.service", "cat > /f/disk/etc/systemd/system/a.service"),
        ("X=/var/lib/x:/opt/y", "X=/f/disk/var/lib/x:/opt/y"),
        ("#!/bin/sh\n/sbin/shutdown -P +1", "#!/bin/sh\n/f/programs/bin/shutdown -P +1"),
        ("/usr/bin/systemctl poweroff", "/f/programs/bin/systemctl poweroff"),
        ("read up _ < /proc/uptime; cat /proc/meminfo", "read up _ < /f/disk/proc/uptime; cat /proc/meminfo"),
        ("curl http://169.254.169.254/latest https://x/etc/y", "curl http://127.1.2.3:8169/latest https://x/etc/y"),
        ("--host 0.0.0.0 /optional ./etc", "--host 127.1.2.3 /optional ./etc"),
    ],
)
def test_what_is_rewritten(text: str, wanted: str) -> None:
    assert rewrite(text.encode(), Path("/f"), "127.1.2.3").decode() == wanted


SCRIPT = """#!/bin/sh
set -ex
useradd -r runner
T=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
echo "id $(curl -sf -H "X-aws-ec2-metadata-token: $T" http://169.254.169.254/latest/meta-data/instance-id)"
cat > /etc/systemd/system/web.service <<UNIT
[Service]
User=runner
StateDirectory=web
ExecStart=python3 -m http.server 8444 --bind 0.0.0.0
ExecStartPost=/bin/sh -c 'echo started > /var/lib/web/started'
[Install]
WantedBy=multi-user.target
UNIT
systemctl enable --now web
(sleep 1000 &)
shutdown -P +1
"""


def test_it_runs_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with AwsCloud(time_scale=60, isolation="none") as cloud:
        for name, value in cloud.environment().items():
            monkeypatch.setenv(name, value)
        with contextlib.closing(boto3.client("ec2")) as ec2:
            (image,) = ec2.describe_images(Filters=[{"Name": "name", "Values": ["acceleratorapi-amd64"]}])["Images"]
            launched = ec2.run_instances(
                ImageId=image["ImageId"], InstanceType="t3.small", MinCount=1, MaxCount=1,
                UserData=SCRIPT, InstanceInitiatedShutdownBehavior="stop",
            )  # fmt: skip
            instance_id = launched["Instances"][0]["InstanceId"]
            cloud.wait_for(lambda: cloud.instances("stopped"))
            (instance,) = cloud.instances()
            assert f"id {instance_id}" in cloud.console(instance_id).splitlines()
            assert (Path(instance.folder) / "disk/var/lib/web/started").read_text() == "started\n"
            assert not [p for p in psutil.process_iter(["cmdline"]) if instance_id in " ".join(p.info["cmdline"] or [])]
            ec2.start_instances(InstanceIds=[instance_id])
            (again,) = cloud.wait_for(lambda: cloud.instances("running"))

            def connected() -> bool:
                try:
                    socket.create_connection((again.public_ip, 8444), 1).close()
                except OSError:
                    return False
                return True

            cloud.wait_for(connected)
