"""The emulator as a process: nothing outlives it, whichever way it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import psutil
import pytest

from acceleratorAPI.errors import ConfigurationError
from acceleratorAPI.testing.aws import AwsCloud


@contextlib.contextmanager
def command_line(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """``acceleratorapi cloud emulate aws``, and the variables it prints."""
    command = [sys.executable, "-m", "acceleratorAPI", "cloud", "emulate", "aws", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(5)]
        yield process, dict(found.groups() for line in told if (found := re.match(r"export (\w+)=(\S+)", line)))
        if process.poll() is None:
            process.kill()


def launch_a_sleeper(environment: dict[str, str], mark: str) -> psutil.Process:
    """An instance whose user data runs a program that can be told by ``mark``; that program."""
    client = boto3.client(
        "ec2", endpoint_url=environment["AWS_ENDPOINT_URL"], region_name="us-east-1",
        aws_access_key_id="a", aws_secret_access_key="b",
    )  # fmt: skip
    with contextlib.closing(client) as ec2:
        launch(ec2, mark)
    found: psutil.Process = wait_until(lambda: next(iter(sleepers(mark)), None))
    return found


def launch(ec2: Any, mark: str) -> None:
    image = ec2.describe_images(Filters=[{"Name": "name", "Values": ["acceleratorapi-amd64"]}])["Images"][0]["ImageId"]
    script = f"#!/bin/sh\nsystemd-run --unit=sleeper sleep {mark}\n"
    ec2.run_instances(ImageId=image, InstanceType="t3.small", MinCount=1, MaxCount=1, UserData=script)


def sleepers(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline() == ["sleep", mark]:
                found.append(process)
    return found


def wait_until(holds: Any, timeout_s: float = 30) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_command_ends_and_all_with_it(number: signal.Signals) -> None:
    mark = f"9{os.getpid()}.{int(number)}"
    with command_line() as (process, environment):
        sleeper = launch_a_sleeper(environment, mark)
        emulator = psutil.Process(process.pid).children()[0]
        process.send_signal(number)
        assert process.wait(30) == (0 if number == signal.SIGINT else -signal.SIGKILL)
        wait_until(lambda: not sleeper.is_running())
        psutil.wait_procs([emulator], 30)
        assert not emulator.is_running()


def test_the_emulator_is_killed_and_its_instances_die() -> None:
    mark = f"8{os.getpid()}"
    with command_line() as (process, environment):
        sleeper = launch_a_sleeper(environment, mark)
        psutil.Process(process.pid).children()[0].kill()
        wait_until(lambda: not sleeper.is_running())


def test_a_port_that_is_taken(running_cloud: AwsCloud, capfd: pytest.CaptureFixture[str]) -> None:
    port = int(running_cloud.endpoint.rpartition(":")[2])
    with pytest.raises(ConfigurationError):
        AwsCloud(port=port).start()
    assert f"--port {port} cannot be used" in capfd.readouterr().err


def test_pages_of_a_browser_get_nothing(running_cloud: AwsCloud) -> None:
    request = urllib.request.Request(
        f"{running_cloud.endpoint}/_emulator/calls", headers={"Origin": "https://evil.test"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as answer:
        assert answer.code == 403


def test_an_instance_installs_a_wheel_from_the_index(tmp_path: Any) -> None:
    (tmp_path / "some_thing-1.0-py3-none-any.whl").write_bytes(b"bytes")
    with AwsCloud(wheels=tmp_path) as cloud:
        index = f"{cloud.endpoint}/_emulator/simple/"
        assert b'href="some-thing/"' in page_of(index)
        (link,) = re.findall('href="([^"]+)"', page_of(f"{index}some-thing/").decode())
        assert page_of(f"{index}some-thing/{link}") == b"bytes"


def page_of(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        text: bytes = answer.read()
        return text
