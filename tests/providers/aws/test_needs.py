"""What the store's catalogue says a function needs counts where the settings say nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from acceleratorAPI.client.instance import acquire
from acceleratorAPI.client.store import StoreClient
from acceleratorAPI.config import Configuration
from acceleratorAPI.providers.aws import ready
from acceleratorAPI.providers.aws.plan import Wanted, what_boots
from acceleratorAPI.providers.aws.provider import AwsProvider
from acceleratorAPI.providers.base import InstanceSpec
from acceleratorAPI.testing.aws import AwsCloud

NEEDS = {"instancetype": "f2.6xlarge", "image": "ami-1", "fpgaimage": "agfi-1"}


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, Wanted("f2.6xlarge", "ami-1", "agfi-1")),
        ({"image": "ami-2"}, Wanted("f2.6xlarge", "ami-2", "agfi-1")),
        ({"fpga_image": "agfi-2"}, Wanted("f2.6xlarge", "ami-1", "agfi-2")),
        ({"instance_type": "f2.6xlarge"}, Wanted("f2.6xlarge", "ami-1", "agfi-1")),
        ({"instance_type": "c6i.xlarge"}, Wanted("c6i.xlarge", "ami-1", None)),
    ],
)
def test_a_setting_comes_first(settings: dict[str, str], wanted: Wanted) -> None:
    configuration = Configuration.load(None, {("csp", name): value for name, value in settings.items()})
    assert what_boots(configuration, NEEDS) == wanted


def test_without_a_catalogue_the_settings_count_alone() -> None:
    given: dict[tuple[str, str], Any] = {("csp", "instance_type"): "c6i.xlarge"}
    assert what_boots(Configuration.load(None, given), {}) == Wanted("c6i.xlarge", None, None)
    assert what_boots(Configuration.load(None, {}), {}) == Wanted(None, None, None)


class LaunchedError(Exception):
    """Instead of the wait for the node."""


@pytest.fixture
def launch_only(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.settings(boots=False)

    def stop(*_: object, **__: object) -> None:
        raise LaunchedError

    monkeypatch.setattr(ready, "wait_until_ready", stop)


@pytest.mark.usefixtures("launch_only")
def test_a_machine_is_made_as_the_catalogue_says_for_its_region(
    provider: Callable[..., AwsProvider], ec2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {ec2.meta.region_name: "c6i.2xlarge", "ap-south-1": "c6i.4xlarge"}
    needs = {region: {"instancetype": kind, "image": "", "fpgaimage": ""} for region, kind in kinds.items()}
    with pytest.raises(LaunchedError):
        provider().create(InstanceSpec("cast_gzip", os.getpid(), needs))
    store = StoreClient("http://127.0.0.1:1", "id", "secret")
    monkeypatch.setattr(store, "get", lambda path: {"AWS": {"cast_gzip": needs}})
    for settings in ({}, {("csp", "instance_type"): "c6i.xlarge"}):
        with pytest.raises(LaunchedError):
            acquire(Configuration.load(None, settings), "cast_gzip", store)
    found = [row["InstanceType"] for r in ec2.describe_instances()["Reservations"] for row in r["Instances"]]
    assert sorted(found) == ["c6i.2xlarge", "c6i.2xlarge", "c6i.xlarge"]
