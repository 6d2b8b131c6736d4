"""Each error code of the table, injected where it comes from: what is done about it is what the table says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acceleratorAPI.errors import InstanceError
from acceleratorAPI.providers.aws import launch, ready
from acceleratorAPI.providers.aws.provider import AwsProvider
from acceleratorAPI.providers.aws.troubles import TROUBLES, LaunchRefusedError
from acceleratorAPI.providers.base import InstanceSpec
from acceleratorAPI.providers.journal import Journal
from acceleratorAPI.testing.aws import AwsCloud, Fault

from .conftest import rules

SPEC = InstanceSpec("cast_gzip", os.getpid())
RUN = "RunInstances"


class LaunchedError(Exception):
    """Instead of the wait for the node: the launch is all these tests are about."""


@pytest.fixture(autouse=True)
def launch_only(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.settings(boots=False)

    def stop(*_: object, **__: object) -> None:
        raise LaunchedError

    monkeypatch.setattr(ready, "wait_until_ready", stop)
    monkeypatch.setattr(launch, "_SOON_S", 5.0)


def codes(action: str) -> list[str]:
    return sorted(code for code, trouble in TROUBLES.items() if trouble.action == action)


def zones_asked(cloud: AwsCloud) -> list[str]:
    return [call.zone for call in cloud.calls(RUN)]


@pytest.fixture
def left(cloud: AwsCloud, ec2: Any, tmp_path: Path) -> Callable[[], None]:
    def nothing() -> None:
        assert not cloud.instances("pending", "running", "stopped")
        assert rules(ec2) == []
        assert Journal(tmp_path / "state").entries("AWS") == []

    return nothing


@pytest.mark.parametrize("code", codes("zone"))
def test_no_machine_in_a_zone_leads_to_the_next(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], left: Callable[[], None], code: str
) -> None:
    cloud.plan(Fault(RUN, error=code, times=2))
    with pytest.raises(LaunchedError):
        provider().create(SPEC)
    assert zones_asked(cloud) == ["us-east-1a", "us-east-1b", "us-east-1c"]
    assert len({call.parameters["ClientToken"] for call in cloud.calls(RUN)}) == 3
    left()


def test_no_machine_anywhere_is_said_in_one_line_and_other_regions_are_asked(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], left: Callable[[], None]
) -> None:
    cloud.plan(Fault(RUN, error="InsufficientInstanceCapacity", times=0))
    with pytest.raises(
        LaunchRefusedError, match=r"InsufficientInstanceCapacity.*\[csp\] instance_type or regions"
    ) as told:
        provider(regions="us-west-2").create(SPEC)
    assert "\n" not in str(told.value)
    assert {zone[:-1] for zone in zones_asked(cloud)} == {"us-east-1", "us-west-2"}
    left()


@pytest.mark.parametrize("code", codes("region"))
def test_a_quota_is_not_asked_for_in_every_zone(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], left: Callable[[], None], code: str
) -> None:
    cloud.plan(Fault(RUN, error=code))
    with pytest.raises(LaunchedError):
        provider(regions="us-west-2").create(SPEC)
    assert [zone[:-1] for zone in zones_asked(cloud)] == ["us-east-1", "us-west-2"]
    cloud.clear_faults()
    cloud.plan(Fault(RUN, error=code))
    with pytest.raises(LaunchRefusedError, match=code):
        provider().create(SPEC)
    left()


@pytest.mark.parametrize("code", [*codes("again"), "SomethingNew"])
def test_what_may_have_been_done_is_asked_again_in_the_same_words(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], left: Callable[[], None], code: str
) -> None:
    cloud.plan(Fault(RUN, error=code, times=3, status=503))
    with pytest.raises(LaunchedError):
        provider().create(SPEC)
    asked = [call.parameters for call in cloud.calls(RUN)]
    assert len(asked) == 4
    assert all(one == asked[0] for one in asked)
    assert len(cloud.instances()) == 1
    left()


def test_an_instance_whose_launch_was_not_answered_is_the_one_that_is_used(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], left: Callable[[], None]
) -> None:
    cloud.plan(Fault(RUN, lost=True))
    with pytest.raises(LaunchedError):
        provider().create(SPEC)
    assert len(cloud.calls(RUN)) == 2
    assert len(cloud.instances()) == 1
    left()


def test_a_launch_that_is_never_answered_is_found_by_its_tag(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], left: Callable[[], None]
) -> None:
    cloud.plan(Fault(RUN, lost=True, times=0))
    with pytest.raises(LaunchedError):
        provider().create(SPEC)
    assert len(cloud.instances()) == 1
    left()


@pytest.mark.parametrize("code", codes("soon"))
def test_what_was_made_a_moment_ago_is_waited_for(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], left: Callable[[], None], code: str
) -> None:
    cloud.plan(Fault(RUN, error=code, times=2))
    with pytest.raises(LaunchedError):
        provider().create(SPEC)
    assert len(cloud.calls(RUN)) == 3
    left()


def test_a_new_profile_group_and_key_are_waited_for(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], left: Callable[[], None]
) -> None:
    cloud.settings(profiles_lag=2, groups_lag=2)
    with pytest.raises(LaunchedError):
        provider(role="MyRole").create(SPEC)
    assert len(cloud.instances()) == 1
    left()


@pytest.mark.parametrize("code", codes("stop"))
def test_what_is_refused_is_not_asked_again(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], left: Callable[[], None], code: str
) -> None:
    cloud.plan(Fault(RUN, error=code))
    with pytest.raises(InstanceError, match=code) as told:
        provider().create(SPEC)
    assert TROUBLES[code].advice in str(told.value)
    assert len(cloud.calls(RUN)) == 1
    left()


def test_the_token_of_an_ended_instance_is_replaced(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], left: Callable[[], None]
) -> None:
    cloud.plan(Fault(RUN, error="IdempotentInstanceTerminated"))
    with pytest.raises(LaunchedError):
        provider().create(SPEC)
    assert zones_asked(cloud) == ["us-east-1a", "us-east-1a"]
    assert len({call.parameters["ClientToken"] for call in cloud.calls(RUN)}) == 2
    left()


@pytest.mark.parametrize("code", codes("account"))
def test_wrong_credentials_are_one_clear_line(cloud: AwsCloud, provider: Callable[..., AwsProvider], code: str) -> None:
    cloud.plan(Fault("GetCallerIdentity", error=code))
    with pytest.raises(InstanceError, match=f"cannot use the account: {code}") as told:
        provider().create(SPEC)
    assert TROUBLES[code].advice in str(told.value)
    assert [call.operation for call in cloud.calls()] == ["GetCallerIdentity"]


def test_credentials_that_expire_in_mid_run_leave_what_the_next_run_ends(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], left: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def expire(*_: object, **__: object) -> None:
        cloud.plan(Fault("*", error="ExpiredToken", times=0))
        raise LaunchedError

    monkeypatch.setattr(ready, "wait_until_ready", expire)
    with pytest.raises(LaunchedError):
        provider().create(SPEC)
    cloud.clear_faults()
    assert len(cloud.instances("pending", "running")) == 1
    monkeypatch.setattr("acceleratorAPI.providers.journal.Entry.owner_is_gone", lambda _: True)
    assert [line.split()[0] for line in provider().reap(dry_run=True)] == [cloud.instances()[0].id]
    assert len(cloud.instances("pending", "running")) == 1
    assert [line.split()[0] for line in provider().reap(dry_run=False)] == [cloud.instances()[0].id, "rule"]
    left()


def test_f1_is_said_to_be_retired_before_anything_is_asked(
    cloud: AwsCloud, provider: Callable[..., AwsProvider]
) -> None:
    with pytest.raises(InstanceError, match="AWS retired F1 on 2025-12-20; use an f2 type"):
        provider(instance_type="f1.2xlarge").create(SPEC)
    assert cloud.calls() == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"instance_type": "x9.huge"}, "instance_type = 'x9.huge'"),
        ({"image": "no-such-image"}, "image = 'no-such-image'"),
        ({"fpga_image": "agfi-0fffffffffffffff0"}, "no such image this account may load"),
        ({"fpga_image": "agfi-0123456789abcdef0", "instance_type": "c6i.xlarge"}, "c6i.xlarge has no FPGA"),
        ({"region": "eu-north-1", "instance_type": "f2.6xlarge"}, "no zone of eu-north-1 offers it"),
        ({"subnet": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound"),
        ({"ssh_key": "none", "ssh_public_key": "/nonexistent.pub"}, "no public key to import"),
        ({"tags": "team"}, "use NAME=VALUE"),
        ({"allow_from": "0.0.0.0/0"}, "the whole internet"),
        ({"allow_from": "host"}, "no address or network"),
        ({"node_package": "/tmp/acceleratorapi-1.whl"}, "give node_bucket too"),
    ],
)
def test_a_wrong_setting_is_named(
    cloud: AwsCloud,
    provider: Callable[..., AwsProvider],
    left: Callable[[], None],
    settings: dict[str, str],
    message: str,
) -> None:
    from acceleratorAPI.errors import AcceleratorError

    with pytest.raises(AcceleratorError) as told:
        provider(**settings).create(SPEC)
    assert message in str(told.value)
    assert cloud.calls(RUN) == []
    left()
