"""The commands that see to machines and accounts, on the emulated cloud."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner

from acceleratorAPI import Accelerator, StopMode
from acceleratorAPI.cli.main import app
from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import ProviderUnknownError
from acceleratorAPI.providers.aws import policy
from acceleratorAPI.providers.aws.provider import AwsProvider
from acceleratorAPI.testing.aws import AwsCloud


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "acceleratorAPI", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "300"})


def told(*arguments: str) -> str:
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_instances_of_every_region_connect_and_logs(
    cloud: AwsCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("instances").stderr == "no instance\n"
    (tmp_path / "id.pub").write_text(f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43} me\n")
    monkeypatch.setenv("ACCELERATOR_CSP_SSH_PUBLIC_KEY", str(tmp_path / "id.pub"))
    with Accelerator("cast_gzip", ssh_key="mine") as accelerator:
        here = accelerator.start(stop_mode=StopMode.KEEP).instance_id or ""
    with Accelerator("silex_sha3", region="eu-west-2") as accelerator:
        far = accelerator.start(stop_mode=StopMode.KEEP).instance_id or ""
    listed = {one["id"]: one for one in json.loads(told("instances", "--json"))}
    assert set(listed) == {here, far}
    assert [listed[one]["region"] for one in (here, far)] == ["us-east-1", "eu-west-2"]
    assert [listed[one]["accelerator"] for one in (here, far)] == ["cast_gzip", "silex_sha3"]
    kept = listed[here]
    assert (kept["status"], kept["stop_mode"], kept["type"]) == ("running", "KEEP", "c6i.xlarge")
    assert (kept["age"], kept["lease"]) == ("0 min", "7 h 59 min at most")
    assert re.fullmatch(r"\$0\.0\d", kept["cost"])
    assert "token" not in kept
    table = told("instances")
    for word in (here, far, "eu-west-2", "LEASE", "COST", "AGE"):
        assert word in table, table

    address = next(one.public_ip for one in cloud.instances() if one.id == here)
    assert told("connect", here) == f"ssh ec2-user@{address}\n"
    refused = run("connect", far)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr == f"error: {far} was made without [csp] ssh_key: nobody can log in to it\n"

    log = told("logs", here)
    assert "acceleratorAPI: " in log
    assert "arming the lease" in log
    assert "listening on https://127.0.0.1:443" in log  # the node's own words
    assert "configuration 1: cast_gzip ready" in log
    told("stop", here)
    told("stop", far)
    assert run("instances").stderr == "no instance\n"


@pytest.mark.parametrize("command", ["connect", "logs"])
@pytest.mark.parametrize("name", ["i-0123456789abcdef0", "no instance at all"])
def test_what_is_not_there_is_one_line(cloud: AwsCloud, command: str, name: str) -> None:
    done = run(command, name)
    assert done.returncode == 3
    assert done.stderr == f"error: instance_id = {name!r}: the AWS account has no such instance\n"


def test_reap_says_and_does(cloud: AwsCloud, provider: Callable[..., AwsProvider]) -> None:
    assert run("reap").stderr == "nothing was left behind\n"
    cloud.settings(boots=False)
    ec2 = boto3.client("ec2", region_name="ap-south-1")
    by = provider(region="ap-south-1")
    owner = by._identity().owner
    labels = {"acceleratorAPI:owner": owner, "acceleratorAPI:lease-until": str(int(time.time()) - 3600)}
    tags = [{"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in labels.items()]}]
    image = ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
    made = ec2.run_instances(ImageId=image, InstanceType="t3.small", MinCount=1, MaxCount=1, TagSpecifications=tags)
    stranger = ec2.run_instances(ImageId=image, InstanceType="t3.small", MinCount=1, MaxCount=1)
    ec2.close()
    (mine,), (other,) = ([one["InstanceId"] for one in answer["Instances"]] for answer in (made, stranger))
    cloud.wait_for(lambda: len(cloud.instances("running")) == 2)
    line = f"{mine} in ap-south-1: terminated, 60 minutes after its lease"
    assert told("reap", "--dry-run") == f"{line}\n"
    assert len(cloud.instances("running")) == 2
    assert json.loads(told("reap", "--json")) == [line]
    cloud.wait_for(lambda: [one.id for one in cloud.instances("running")] == [other])


def test_the_image_script_is_a_script(tmp_path: Path) -> None:
    for arguments, wanted in (((), "acceleratorAPI=="), (("--package", "a b'; touch /x"), "a b")):
        script = told("image", *arguments)
        assert wanted in script
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    # What is given is a word, whatever it holds.
    quoted = next(line for line in script.splitlines() if line.startswith("PACKAGE="))
    said = subprocess.run(["bash", "-c", f'{quoted}; echo "$PACKAGE"'], capture_output=True, text=True, check=True)
    assert said.stdout == "a b'; touch /x\n"


def test_the_policy_follows_the_settings(tmp_path: Path) -> None:
    def sids(*arguments: str) -> list[str]:
        return [one["Sid"] for one in json.loads(told("aws", "policy", *arguments))["Statement"]]

    least = sids()
    assert "Role" not in least
    conf = tmp_path / "accelerator.conf"
    conf.write_text("[csp]\nrole = MyRole\nspot = yes\n")
    asked = sids("--conf", str(conf))
    assert set(asked) - set(least) == {"Role", "PassRole", "SpotForTheFirstTime"}
    assert set(asked) < set(sids("--all"))
    # The image for an FPGA may come from the store's catalogue.
    conf.write_text("[accelize]\nurl = https://store.example\n")
    assert "ec2:DescribeFpgaImages" in told("aws", "policy", "--conf", str(conf))
    assert "ec2:DescribeFpgaImages" not in told("aws", "policy")
    conf.write_text("[csp]\nrol = MyRole\n")
    wrong = run("aws", "policy", "--conf", str(conf))
    assert wrong.returncode == 2
    assert "unknown key 'rol' in [csp]; did you mean 'role'?" in wrong.stderr


def test_the_policy_is_one_that_aws_takes() -> None:
    written: Any = policy.policy(Configuration.load(), everything=True)
    assert written["Version"] == "2012-10-17"
    for statement in written["Statement"]:
        assert re.fullmatch(r"[A-Za-z0-9]+", statement["Sid"])
        assert statement["Action"]
        assert all(re.fullmatch(r"[a-z0-9]+:[A-Z][A-Za-z]+", action) for action in statement["Action"])
    # A managed policy may have so many characters, spaces not counted.
    assert len(json.dumps(written, separators=(",", ":"))) < 6144


@pytest.mark.parametrize(
    "command", ["instances", "connect", "logs", "reap", "image", "aws policy", "cloud emulate", "stop", "start"]
)
def test_help_has_examples(command: str) -> None:
    text = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"}).stdout
    assert "Examples:" in text
    assert f"acceleratorapi {command}" in text


@pytest.mark.parametrize("command", [["instances"], ["reap"], ["connect", "x"], ["logs", "x"]])
def test_an_unknown_provider_is_named(command: list[str]) -> None:
    raised = CliRunner().invoke(app, [*command, "--provider", "AWZ"]).exception
    assert isinstance(raised, ProviderUnknownError)
    assert "did you mean 'AWS'?" in str(raised)
