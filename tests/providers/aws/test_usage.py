"""Usage of an instance whose disk goes with it reaches the store, also one that was down when the instance ended."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stores import StoreProcess

from acceleratorAPI import Accelerator
from acceleratorAPI.client.store import StoreClient
from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import ConfigurationError
from acceleratorAPI.providers.aws import settings
from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.providers.aws.provider import AwsProvider
from acceleratorAPI.providers.base import InstanceSpec
from acceleratorAPI.testing.aws import AwsCloud

from .conftest import TIME_SCALE


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    process = StoreProcess(tmp_path_factory.mktemp("store"))
    process.up()
    yield process
    process.down()


@pytest.fixture(scope="module")
def running_cloud(store: StoreProcess) -> Iterator[AwsCloud]:
    """One whose instances reach the store."""
    with AwsCloud(time_scale=TIME_SCALE, reach=[store.port]) as cloud:
        yield cloud


@pytest.fixture
def key(store: StoreProcess, cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch, request: Any) -> tuple[str, str]:
    """An access key of an organisation of the test's own, in the settings."""
    found = store.tenant(f"user{abs(hash(request.node.name)) % 10**8}")
    for name, value in (("URL", store.url), ("CLIENT_ID", found[0]), ("SECRET_ID", found[1])):
        monkeypatch.setenv(f"ACCELERATOR_ACCELIZE_{name}", value)
    return found


def jobs(store: StoreProcess, key: tuple[str, str]) -> int:
    return int(store.usage(*key)["total"]["jobs"])


def waiting(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "state" / "reports").glob("*"))


def test_what_was_used_a_moment_before_the_end_is_counted(
    store: StoreProcess, key: tuple[str, str], tmp_path: Path
) -> None:
    with Accelerator("cast_gzip") as accelerator:
        accelerator.start(stop_mode="TERM")
        for _ in range(3):
            accelerator.process(b"x" * 1000)
    assert jobs(store, key) == 3
    assert waiting(tmp_path) == []


@pytest.mark.parametrize("how", ["TERM", "STOP", "forgotten", "SIGTERM", "command"])
def test_a_store_that_is_down_gets_it_later(
    store: StoreProcess, key: tuple[str, str], cloud: AwsCloud, tmp_path: Path, how: str
) -> None:
    if how == "SIGTERM":
        _use_in_another_process(store, tmp_path)
    else:
        accelerator = Accelerator("cast_gzip")
        started = accelerator.start(stop_mode="KEEP" if how == "command" else "STOP" if how == "STOP" else "TERM")
        store.down()
        for _ in range(3):
            accelerator.process(b"x" * 1000)
        if how == "forgotten":
            accelerator.close()
        elif how == "command":
            accelerator.close()
            command = [sys.executable, "-m", "acceleratorAPI", "stop", started.instance_id or ""]
            subprocess.run(command, check=True, timeout=60)
        else:
            accelerator.stop()
    cloud.wait_for(lambda: not cloud.instances("pending", "running"))
    assert len(waiting(tmp_path)) == 1
    # Whoever can read the file cannot change what it says.
    assert "private" not in waiting(tmp_path)[0].read_text()
    store.up()
    assert jobs(store, key) == 0
    with Accelerator("cast_gzip"):
        pass
    assert jobs(store, key) == 3
    assert waiting(tmp_path) == []


_USE = """
import sys, time
from acceleratorAPI import Accelerator
accelerator = Accelerator("cast_gzip", stop_mode="TERM")
accelerator.start()
print("started", flush=True)
sys.stdin.readline()
for _ in range(3):
    accelerator.process(b"x" * 1000)
print("used", flush=True)
time.sleep(600)
"""


def _use_in_another_process(store: StoreProcess, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _USE]
    user = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert user.stdin is not None
    assert user.stdout is not None
    with user:
        assert user.stdout.readline() == "started\n"
        store.down()
        user.stdin.write("\n")
        user.stdin.flush()
        assert user.stdout.readline() == "used\n"
        user.terminate()
        assert user.wait(60) == -signal.SIGTERM


def test_a_report_counts_once_and_cannot_be_changed(
    store: StoreProcess, key: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Accelerator("cast_gzip") as accelerator:
        accelerator.start(stop_mode="TERM")
        store.down()
        accelerator.process(b"x" * 1000)
    (path,) = waiting(tmp_path)
    text = path.read_text()
    store.up()
    subprocess.run([sys.executable, "-m", "acceleratorAPI", "metering"], check=True, timeout=60)
    assert waiting(tmp_path) == []
    assert jobs(store, key) == 1
    path.write_text(text)
    path.with_name("changed.json").write_text(text.replace('\\"bytes_in\\": \\"1000\\"', '\\"bytes_in\\": \\"1\\"'))
    assert path.with_name("changed.json").read_text() != text
    path.with_name("damaged.json").write_text(text[:100])
    Accelerator("cast_gzip").close()
    assert (jobs(store, key), store.usage(*key)["total"]["bytes_in"]) == (1, 1000)
    assert [left.name for left in waiting(tmp_path)] == ["changed.refused", "damaged.json"]
    assert "changed.json" in caplog.text
    assert "damaged.json cannot be read" in caplog.text


def test_reports_of_another_store_wait_for_that(store: StoreProcess, key: tuple[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "state" / "reports"
    folder.mkdir(parents=True)
    (folder / "other.json").write_text('{"store": "https://other.example.org", "body": "[]", "signature": "x"}')
    Accelerator("cast_gzip").close()
    assert [path.name for path in waiting(tmp_path)] == ["other.json"]


def test_an_instance_that_is_out_of_reach_is_ended_all_the_same(
    store: StoreProcess, key: tuple[str, str], cloud: AwsCloud, caplog: pytest.LogCaptureFixture
) -> None:
    accelerator = Accelerator("cast_gzip")
    accelerator.start(stop_mode="TERM")
    assert accelerator.instance is not None
    cloud.act(accelerator.instance.id, "crash")
    accelerator.close()
    cloud.wait_for(lambda: not cloud.instances("pending", "running"))
    assert "may be lost" in caplog.text


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost:8080", "https://[::1]:8080"])
def test_a_store_that_only_this_machine_reaches_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, provider: Callable[..., AwsProvider], cloud: AwsCloud, url: str
) -> None:
    # As with AWS itself; nothing is sent there.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://aws.example.invalid")
    monkeypatch.setenv("ACCELERATOR_ACCELIZE_URL", url)
    by = provider()
    assert by.configuration.get("accelize", "url") == url
    with pytest.raises(ConfigurationError, match=r"^\[accelize\] url = .* leads to this machine from here"):
        by.create(InstanceSpec("cast_gzip", 1))
    assert cloud.calls() == []


def test_a_store_elsewhere_is_not(monkeypatch: pytest.MonkeyPatch, cloud: AwsCloud) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://aws.example.invalid")
    for url in ("https://192.0.2.7", "https://store.example.invalid"):
        monkeypatch.setenv("ACCELERATOR_ACCELIZE_URL", url)
        settings.check(Configuration.load(), Cloud(Configuration.load()))
        assert StoreClient(url, "id", "secret").url == url
