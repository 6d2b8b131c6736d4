"""No secret of the cloud's account leaves the client: not to the instance, nor to a file, a log or an error."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import ConfigurationError
from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.testing.aws import AwsCloud, Fault

# As a file of settings has them, and as the environment has them.
SETTINGS = {"client_id": "AKIACANARY0123456789", "secret_id": "CanarySettings0123456789+/Canary"}
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "ASIACANARY0123456789",
    "AWS_SECRET_ACCESS_KEY": "CanaryEnvironment0123456789+/Can",
    "AWS_SESSION_TOKEN": "CanarySessionToken0123456789==",
}
SECRETS = (*SETTINGS.values(), *ENVIRONMENT.values())

CLIENT = """
import logging, sys, traceback
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
logging.getLogger("acceleratorAPI").setLevel(logging.DEBUG)
from acceleratorAPI import Accelerator, AcceleratorError
from acceleratorAPI.providers.registry import get_provider
try:
    with Accelerator("cast_gzip", {arguments}) as accelerator:
        print(accelerator.start(stop_mode="{mode}"))
        print(accelerator, repr(accelerator), accelerator.instance, accelerator.instance.as_dict())
        print(accelerator.process(b"x" * 1000))
        print("in use", flush=True)
        sys.stdin.readline()
        print(accelerator.stop())
except AcceleratorError as error:
    print(repr(error))
    traceback.print_exc()
"""


def environment(given: str) -> dict[str, str]:
    """Of a client whose credentials are given that way and no other."""
    plain = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    return plain | (ENVIRONMENT if given == "environment" else {})


def arguments(given: str) -> str:
    return ", ".join(f"csp_{name}={value!r}" for name, value in SETTINGS.items()) if given == "settings" else ""


@pytest.fixture(params=["settings", "environment"])
def given(request: pytest.FixtureRequest) -> str:
    way: str = request.param
    return way


def everything_of(cloud: AwsCloud) -> Iterator[tuple[str, bytes]]:
    """What the instances have: their disks, consoles, processes; and what was asked of the cloud."""
    for instance in cloud.instances():
        for path in Path(instance.folder).rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield str(path), path.read_bytes()
    assert cloud._process is not None
    for process in psutil.Process(cloud._process.pid).children(recursive=True):
        for name in ("environ", "cmdline"):
            try:
                yield f"{name} of {process.pid}", Path(f"/proc/{process.pid}/{name}").read_bytes()
            except OSError:  # it has ended
                continue
    for call in cloud.calls():
        yield call.name, json.dumps(call.parameters).encode()


def with_secrets(things: Iterator[tuple[str, bytes]]) -> list[str]:
    return [name for name, text in things if any(secret.encode() in text for secret in SECRETS)]


def files_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    return ((str(path), path.read_bytes()) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("mode", ["TERM", "STOP", "KEEP"])
def test_no_secret_of_the_account_is_anywhere(cloud: AwsCloud, tmp_path: Path, given: str, mode: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT.format(arguments=arguments(given), mode=mode)],
        env=environment(given), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as client:  # fmt: skip
        assert client.stdout is not None
        said = list(itertools.takewhile(lambda line: line != "in use\n", client.stdout))
        # The very key was used, and it is the instance's processes and files that were looked at.
        key = SETTINGS["client_id"] if given == "settings" else ENVIRONMENT["AWS_ACCESS_KEY_ID"]
        assert {call.access_key for call in cloud.calls()} == {key}
        seen = dict(everything_of(cloud))
        assert any(b"acceleratorAPI.node" in text for name, text in seen.items() if name.startswith("cmdline"))
        assert any(name.endswith("tls-key.pem") for name in seen)
        assert any(name.endswith("console.log") and b"acceleratorAPI: " in text for name, text in seen.items())
        assert with_secrets(iter(seen.items())) == []
        output, log = client.communicate("\n", timeout=60)
    assert client.returncode == 0, log
    assert "INFO:acceleratorAPI.progress" in log
    assert with_secrets(iter([("output", ("".join(said) + output).encode()), ("log", log.encode())])) == []
    journal = dict(files_of(tmp_path / "state"))
    assert any(name.endswith("journal.db") for name in journal)
    assert with_secrets(iter(journal.items())) == []
    assert with_secrets(everything_of(cloud)) == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GetCallerIdentity", error="SignatureDoesNotMatch", times=0),
        Fault("CreateSecurityGroup", error="UnauthorizedOperation", times=0),
        Fault("RunInstances", error="ExpiredToken", times=0),
    ],
)
def test_no_secret_of_the_account_is_in_an_error(cloud: AwsCloud, tmp_path: Path, given: str, fault: Fault) -> None:
    cloud.plan(fault)
    done = subprocess.run(
        [sys.executable, "-c", CLIENT.format(arguments=arguments(given), mode="TERM")],
        env=environment(given), stdin=subprocess.DEVNULL, capture_output=True, check=True,
    )  # fmt: skip
    assert fault.error.encode() in done.stdout
    assert b"Traceback" in done.stderr
    told = [("output", done.stdout), ("log", done.stderr), *files_of(tmp_path / "state"), *everything_of(cloud)]
    assert with_secrets(iter(told)) == []


def test_no_half_of_an_access_key_is_in_the_error_about_the_other_half() -> None:
    for name, secret in SETTINGS.items():
        with pytest.raises(ConfigurationError, match="client_id and secret_id go together") as told:
            Cloud(Configuration.load(None, {("csp", name): secret}))
        assert secret not in repr(told.value)
    # The id alone is none: `config show` tells it.
    secret = SETTINGS["secret_id"]
    assert secret not in repr(Configuration.load(None, {("csp", "secret_id"): secret}))
