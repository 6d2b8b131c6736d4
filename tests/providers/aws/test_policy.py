"""What the account must allow is what is really called; what is secret stays here."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acceleratorAPI import StopMode
from acceleratorAPI.config import Configuration
from acceleratorAPI.providers.aws import ready
from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.providers.aws.fleet import Seen
from acceleratorAPI.providers.aws.policy import policy
from acceleratorAPI.providers.aws.provider import AwsProvider
from acceleratorAPI.providers.base import InstanceSpec
from acceleratorAPI.testing.aws import AwsCloud

SPEC = InstanceSpec("cast_gzip", os.getpid())
# AWS asks for these with a call of another name: tags in a call that makes something, a role that is passed on.
IMPLIED = {"iam:PassRole", "iam:TagRole", "iam:TagInstanceProfile", "iam:CreateServiceLinkedRole", "ec2:CreateTags"}
# Nobody may be refused these, or they are not of this test.
FREE = {"s3:GetObject", "s3:PutObject"}


@pytest.fixture(autouse=True)
def without_nodes(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.settings(boots=False)

    def at_once(account: Cloud, region: str, instance_id: str, *_: object) -> Seen:
        def running() -> Seen | None:
            seen = ready.see(account, region, instance_id)
            return seen if seen and seen.state == "running" else None

        found: Seen = cloud.wait_for(running)
        return found

    monkeypatch.setattr(ready, "wait_until_ready", at_once)


def live(by: AwsProvider) -> None:
    """Everything a provider can be asked."""
    instance = by.create(SPEC)
    for mode in (StopMode.KEEP, StopMode.STOP, StopMode.TERM):
        by.mark(instance, mode)
    by.renewed(instance, 300)
    by.instances()
    by.find(instance_id=instance.id)
    by.diagnose(instance)
    by.log(instance)
    by.stop(instance)
    by.start(instance, os.getpid())
    by.terminate(instance)
    by.reap(dry_run=False)


def actions(statement: list[dict[str, Any]]) -> set[str]:
    return {action for one in statement for action in one["Action"]}


def test_the_least_policy_is_what_is_called(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], tmp_path: Path
) -> None:
    live(provider())
    called = {call.name for call in cloud.calls()}
    least = actions(policy(Configuration.load())["Statement"])
    assert called <= least
    # Only an account without an image of its own asks for Amazon's.
    assert least - called <= IMPLIED | {"ssm:GetParameter"}

    (tmp_path / "id.pub").write_text(f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43} me\n")
    settings = {"role": "MyRole", "ssh_key": "key", "ssh_public_key": str(tmp_path / "id.pub")}
    by = provider(**settings, fpga_image="agfi-0123456789abcdef0", image="/aws/service/debian/release/12/latest/amd64")
    instance = by.create(SPEC)
    assert by.connection(instance).startswith("ssh admin@127.")
    by.terminate(instance)
    by.reap(dry_run=False)
    by = provider(spot="yes")
    by.terminate(by.create(SPEC))
    called = {call.name for call in cloud.calls()}
    most = actions(policy(Configuration.load(), everything=True)["Statement"])
    assert called <= most
    assert most - called <= IMPLIED | FREE


def test_the_token_of_a_node_stays_with_the_client(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The instance knows its digest alone. The account's secrets: test_canary."""
    caplog.set_level(logging.DEBUG, logger="acceleratorAPI")
    by = provider()
    instance = by.create(SPEC)
    by.mark(instance, StopMode.KEEP)
    (launched,) = cloud.calls("RunInstances")
    user_data = base64.b64decode(launched.parameters["UserData"]).decode()
    assert "acceleratorapi-guard" in user_data
    assert instance.token
    for text in (user_data, *(call.text() for call in cloud.calls()), caplog.text, repr(instance)):
        assert instance.token not in text
    journal = tmp_path / "state" / "journal.db"
    assert instance.token.encode() in b"".join(path.read_bytes() for path in journal.parent.glob("journal.db*"))
    assert oct(journal.stat().st_mode & 0o777) == "0o600"
    by.terminate(instance)
    assert instance.token.encode() not in b"".join(path.read_bytes() for path in journal.parent.glob("journal.db"))
