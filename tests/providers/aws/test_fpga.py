"""An FPGA image: from the settings or the store's catalogue to the node, which says what it was told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from acceleratorAPI import Accelerator, StopMode
from acceleratorAPI.cli.status_view import text
from acceleratorAPI.client.accelerator import StoreClient
from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.client.trust import Trust
from acceleratorAPI.errors import ConfigurationError, InstanceError
from acceleratorAPI.protocol.status import NodeStatus
from acceleratorAPI.providers.aws.provider import AwsProvider
from acceleratorAPI.providers.base import InstanceSpec
from acceleratorAPI.testing.aws import AwsCloud

OF_CATALOGUE, GIVEN = "agfi-0123456789abcdef0", "agfi-0fedcba9876543210"


def catalogue(monkeypatch: pytest.MonkeyPatch, kind: str = "f2.6xlarge", fpga_image: str = OF_CATALOGUE) -> None:
    """A store that says what a function needs; it is its answer that counts here, not its network."""
    store = StoreClient("http://127.0.0.1:1", "id", "secret")
    needs = {"us-east-1": {"instancetype": kind, "image": "", "fpgaimage": fpga_image}}
    monkeypatch.setattr(store, "token", lambda: "token")
    monkeypatch.setattr(store, "get", lambda path: {"AWS": {"cast_gzip": needs}})
    monkeypatch.setattr(StoreClient, "of", lambda settings: store)


def node_of(accelerator: Accelerator) -> NodeClient:
    assert accelerator.instance is not None
    instance = accelerator.instance
    return NodeClient(instance.url, instance.token, trust=Trust(instance.fingerprint))


def told(accelerator: Accelerator) -> tuple[str | None, str]:
    """What the node says it was told: at a glance, and in the answer to the configuration."""
    configuration = accelerator.configuration
    assert configuration is not None
    status: NodeStatus = node_of(accelerator).status()
    assert f"FPGA image  {status.fpga_image}, as" in text(status, "here")
    return status.fpga_image, json.loads(configuration.parameters)["env"]["AGFI"]


def test_the_image_of_the_catalogue_reaches_the_node(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue(monkeypatch)
    with Accelerator("cast_gzip") as accelerator:
        instance_id = accelerator.start(stop_mode=StopMode.KEEP).instance_id
        assert told(accelerator) == (OF_CATALOGUE, OF_CATALOGUE)
        node_of(accelerator).stop()
        assert node_of(accelerator).status().fpga_image is None
    (instance,) = cloud.instances("running")
    assert instance.type == "f2.6xlarge"
    # Another process, which asks no catalogue, configures it anew.
    monkeypatch.setattr(StoreClient, "of", lambda settings: None)
    with Accelerator("cast_gzip", instance_id=instance_id) as accelerator:
        assert not accelerator.start().reused
        assert told(accelerator) == (OF_CATALOGUE, OF_CATALOGUE)
        assert accelerator.instance is not None
        assert accelerator.instance.as_dict()["fpga image"] == OF_CATALOGUE
        accelerator.stop("TERM")


def test_the_setting_comes_before_the_catalogue(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue(monkeypatch)
    cloud.settings(fpga_images=[OF_CATALOGUE, GIVEN])
    monkeypatch.setenv("ACCELERATOR_CSP_FPGA_IMAGE", GIVEN)
    with Accelerator("cast_gzip", instance_type="f2.12xlarge", stop_mode="TERM") as accelerator:
        accelerator.start()
        assert told(accelerator) == (GIVEN, GIVEN)
        assert cloud.instances("running")[0].type == "f2.12xlarge"


def test_f1_of_the_catalogue_is_one_clear_line_and_launches_nothing(
    cloud: AwsCloud, provider: Callable[..., AwsProvider]
) -> None:
    needs = {"us-east-1": {"instancetype": "f1.2xlarge", "image": "", "fpgaimage": OF_CATALOGUE}}
    with pytest.raises(InstanceError, match=r"^instancetype of the store's catalogue = 'f1.2xlarge': AWS retired F1"):
        provider().create(InstanceSpec("cast_gzip", os.getpid(), needs))
    assert cloud.calls("RunInstances") == []


@pytest.mark.parametrize("wrong", ["afi-0123456789abcdef0", "agfi-", "agfi-xyz", "image.awsxclbin"])
def test_what_is_no_id_of_an_fpga_image_is_said(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], wrong: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"fpga_image = '{wrong}': use the global id"):
        provider(fpga_image=wrong).create(InstanceSpec("cast_gzip", os.getpid()))
    assert cloud.calls("RunInstances") == []
