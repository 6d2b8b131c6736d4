"""An instance from its start to each of its ends, on the emulated cloud."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from acceleratorAPI import Accelerator, StopMode
from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.client.trust import Trust
from acceleratorAPI.errors import InstanceError, InstanceNotFoundError
from acceleratorAPI.protocol.records import Lease
from acceleratorAPI.providers.aws.provider import AwsProvider
from acceleratorAPI.providers.base import InstanceSpec
from acceleratorAPI.providers.journal import Journal
from acceleratorAPI.testing.aws import AwsCloud

from .conftest import rules

TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 1000


def gone(cloud: AwsCloud) -> bool:
    return {instance.state for instance in cloud.instances()} <= {"shutting-down", "terminated"}


def test_start_process_stop_leaves_nothing(cloud: AwsCloud, ec2: Any, tmp_path: Path) -> None:
    with Accelerator("cast_gzip", stop_mode="TERM") as accelerator:
        accelerator.start()
        assert accelerator.instance is not None
        assert accelerator.instance.details["region"] == "us-east-1"
        assert rules(ec2) == ["127.0.0.1/32:443"]
        result = accelerator.process(TEXT)
        assert gzip.decompress(result.data or b"") == TEXT
        told = str(accelerator.stop())
    assert "is terminated" in told
    assert "per hour" in told
    assert gone(cloud)
    assert rules(ec2) == []
    assert Journal(tmp_path / "state").entries("AWS") == []
    (launched,) = cloud.calls("RunInstances")
    words = launched.text()
    for needed in (
        "InstanceInitiatedShutdownBehavior=terminate", "MetadataOptions.HttpTokens=required", "Ebs.Encrypted=true",
        "Ebs.DeleteOnTermination=true", "ClientToken=", "TagSpecification.1.ResourceType=instance",
        "TagSpecification.2.ResourceType=volume",
    ):  # fmt: skip
        assert needed in words, needed
    assert len({call.name for call in cloud.calls() if call.operation == "CreateTags"}) <= 1


ANOTHER = """
import json, sys
from acceleratorAPI import Accelerator
with Accelerator("cast_gzip", **json.loads(sys.argv[1])) as accelerator:
    started = accelerator.start()
    print(started.instance_id, started.reused, len(accelerator.process(b"x" * 1000).data))
"""


def elsewhere(**arguments: str) -> str:
    command = [sys.executable, "-c", ANOTHER, json.dumps(arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120).stdout.strip()


def test_a_kept_instance_serves_other_processes_by_id_and_by_address(cloud: AwsCloud, ec2: Any) -> None:
    first = Accelerator("cast_gzip")
    started = first.start(stop_mode=StopMode.KEEP)
    first.close()
    (instance,) = cloud.instances("running")
    assert instance.tags["acceleratorAPI:stop-mode"] == "KEEP"
    assert elsewhere(instance_id=instance.id).startswith(f"{started.instance_id} True ")
    assert elsewhere(instance_ip=instance.public_ip or "").startswith(f"{started.instance_id} True ")
    assert [found.id for found in cloud.instances("running")] == [instance.id]
    with Accelerator("cast_gzip", instance_id=instance.id) as accelerator:
        accelerator.start()
        accelerator.stop("TERM")
    assert gone(cloud)
    assert rules(ec2) == []


def test_a_stopped_instance_starts_again(cloud: AwsCloud, ec2: Any) -> None:
    with Accelerator("cast_gzip") as accelerator:
        instance_id = accelerator.start(stop_mode="STOP").instance_id
    cloud.wait_for(lambda: cloud.instances("stopped"))
    assert rules(ec2) == []
    with Accelerator("cast_gzip", instance_id=instance_id) as accelerator:
        assert accelerator.start(stop_mode="TERM").instance_id == instance_id
        assert gzip.decompress(accelerator.process(TEXT).data or b"") == TEXT
    assert gone(cloud)


def test_an_instance_whose_client_is_silent_ends_with_its_lease(
    cloud: AwsCloud, provider: Callable[..., AwsProvider]
) -> None:
    # No session: nobody ever asks for a lease, and the birth deadline of 15 minutes is the end.
    made = provider().create(InstanceSpec("cast_gzip", os.getpid()))
    cloud.wait_for(lambda: gone(cloud), timeout_s=60)
    told = provider().diagnose(made)
    assert told.count("Client.InstanceInitiatedShutdown") == 1
    assert told.count("the lease has ended") == 1


def test_a_lease_is_longer_than_the_first_deadline_and_ends_the_machine_whatever_the_clock_does(
    cloud: AwsCloud, provider: Callable[..., AwsProvider]
) -> None:
    made = provider().create(InstanceSpec("cast_gzip", os.getpid()))
    node = NodeClient(made.url, made.token, trust=Trust(made.fingerprint))
    node.lease(Lease(seconds=3000))
    node.lease(Lease(seconds=10, extend=True))
    cloud.wait_for(lambda: "shutdown: poweroff in 6" in cloud.console(made.id))
    cloud.act(made.id, "jump", seconds=1000)
    time.sleep(1)
    assert [instance.state for instance in cloud.instances()] == ["running"]
    cloud.act(made.id, "jump", seconds=2500)
    cloud.wait_for(lambda: gone(cloud))
    node.close()


def test_spot_role_key_tags_and_init_script_reach_the_launch(
    cloud: AwsCloud, ec2: Any, provider: Callable[..., AwsProvider], tmp_path: Path
) -> None:
    (tmp_path / "id.pub").write_text(f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43} me\n")
    (tmp_path / "init.sh").write_text("#!/bin/sh\necho prepared by the user\n")
    by = provider(
        spot="yes", role="MyRole", ssh_key="MySSHKEY", ssh_public_key=str(tmp_path / "id.pub"), tags="team=a, cost=b",
        init_script=str(tmp_path / "init.sh"), security_group="MySecurityGROUP", volume_gb="100",
    )  # fmt: skip
    instance = by.create(InstanceSpec("cast_gzip", os.getpid()))
    words = cloud.calls("RunInstances")[0].text()
    for needed in ("MarketType=spot", "IamInstanceProfile.Name=MyRole", "KeyName=MySSHKEY", "VolumeSize=100"):
        assert needed in words, needed
    assert cloud.instances()[0].tags["team"] == "a"
    assert "prepared by the user" in by.log(instance)
    assert by.connection(instance) == f"ssh ec2-user@{cloud.instances()[0].public_ip}"
    assert sorted(rules(ec2)) == ["127.0.0.1/32:22", "127.0.0.1/32:443"]
    with pytest.raises(InstanceError, match="spot capacity, which cannot be stopped"):
        by.mark(instance, StopMode.STOP)
    by.terminate(instance)
    by.terminate(instance)
    assert rules(ec2) == []
    assert gone(cloud)


def test_a_setup_that_fails_says_why_and_ends_the_instance(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], tmp_path: Path
) -> None:
    (tmp_path / "init.sh").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(InstanceError, match=r"setup failed: line \d+: /root/acceleratorapi-init"):
        provider(init_script=str(tmp_path / "init.sh")).create(InstanceSpec("cast_gzip", os.getpid()))
    cloud.wait_for(lambda: gone(cloud))
    assert Journal(tmp_path / "state").entries("AWS") == []


def test_what_is_not_there_is_not_found(cloud: AwsCloud, provider: Callable[..., AwsProvider]) -> None:
    by = provider()
    with pytest.raises(InstanceNotFoundError, match="no such instance"):
        by.find(instance_id="i-0123456789abcdef0")
    with pytest.raises(InstanceNotFoundError, match="no such instance"):
        by.find(address="127.9.9.9")
    assert by.instances() == []


def test_what_a_client_with_a_wrong_clock_began_is_forgotten_too(
    provider: Callable[..., AwsProvider], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "state")
    account = provider()._identity().account
    with monkeypatch.context() as tomorrow:
        tomorrow.setattr(time, "time", lambda now=time.time: now() + 86400)
        journal.begin("0123456789abcdef", "AWS", account, "token")
        journal.intend("0123456789abcdef", "us-east-1", "0123456789abcdef-1", "{}")
    monkeypatch.setattr("acceleratorAPI.providers.journal.Entry.owner_is_gone", lambda _: True)
    provider().reap(dry_run=False)
    assert journal.entries("AWS") == []


def test_ten_clients_at_once_share_what_is_shared(
    cloud: AwsCloud, ec2: Any, provider: Callable[..., AwsProvider], tmp_path: Path
) -> None:
    (tmp_path / "id.pub").write_text(f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43} me\n")

    def one(_: int) -> None:
        by = provider(role="MyRole", ssh_key="key", ssh_public_key=str(tmp_path / "id.pub"))
        by.terminate(by.create(InstanceSpec("cast_gzip", os.getpid())))

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(one, range(10)))
    assert len(cloud.instances()) == 10
    assert gone(cloud)
    assert rules(ec2) == []
    ours = [{"Name": "group-name", "Values": ["acceleratorAPI-*"]}]
    assert len(ec2.describe_security_groups(Filters=ours)["SecurityGroups"]) == 1
    assert len(ec2.describe_key_pairs()["KeyPairs"]) == 1
    assert Journal(tmp_path / "state").entries("AWS") == []
