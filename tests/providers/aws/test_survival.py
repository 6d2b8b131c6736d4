"""A client that is killed, cut off, refused or not answered leaves nothing. All points: scripts/soak-aws."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aws_points import TIME_SCALE, Call, How, Point, Tally, User, left_of
from soak_aws import try_points

from acceleratorAPI.providers.journal import Journal
from acceleratorAPI.testing.aws import AwsCloud


@pytest.fixture
def cloud(running_cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsCloud]:
    assert TIME_SCALE == 60
    running_cloud.reset()
    for name, value in running_cloud.environment().items():
        monkeypatch.setenv(name, value)
    yield running_cloud
    running_cloud.clear_faults()


def tried(cloud: AwsCloud, folder: Path, *wanted: tuple[str, How, str]) -> Tally:
    total = Tally()
    points = [Point(mode, Call.parse(call), how) for mode, how, call in wanted]
    try_points(cloud, folder, points, lambda _, tally: total.add(tally))
    return total


def test_a_client_that_is_killed_refused_cut_off_or_not_answered_leaves_nothing(
    cloud: AwsCloud, tmp_path: Path
) -> None:
    total = tried(
        cloud, tmp_path,
        ("TERM", "gone", "file node PATCH /v2/files/* 1"),
        ("TERM", "after", "start cloud CreateRole 1"),
        ("TERM", "before", "start cloud RunInstances 1"),
        ("TERM", "after", "start cloud RunInstances 1"),
        ("TERM", "after", "file node POST /v2/jobs 1"),
        ("TERM", "before", "stop cloud TerminateInstances 1"),
        ("STOP", "after", "start cloud ModifyInstanceAttribute 1"),
        ("STOP", "before", "process node POST /v2/run 1"),
        ("STOP", "after", "stop cloud StopInstances 1"),
        ("TERM", "lost", "start cloud RunInstances 1"),
        ("TERM", "lost", "file node POST /v2/jobs 1"),
        ("TERM", "died", "file node GET /v2/jobs/*/result 1"),
        ("TERM", "cut", "file node PATCH /v2/files/* 1"),
        ("TERM", "expired", "start cloud RunInstances 1"),
        ("TERM", "expired", "stop cloud TerminateInstances 1"),
        ("TERM", "ahead", "start cloud RunInstances 1"),
        ("TERM", "behind", "stop cloud TerminateInstances 1"),
        ("TERM", "ahead", "file node POST /v2/jobs 1"),
    )  # fmt: skip
    assert total.well(), total
    # What lost its way to the cloud or the node says so; a cut, a lost answer and a node that comes back are got over,
    # and so is a clock that jumps when the last call that matters was signed already.
    assert (total.points, total.killed, total.told, total.right) == (18, 8, 5, 5)
    # No RunInstances was carried out for two of the killed, and for the one whose credentials expired at it.
    assert total.launched == 15


def test_ten_clients_on_two_machines_at_once(cloud: AwsCloud, tmp_path: Path) -> None:
    user = User(cloud, tmp_path, "crowd")
    machines = [tmp_path / "one", tmp_path / "two"]
    with ThreadPoolExecutor(10) as pool:
        runs = list(pool.map(lambda number: user.run("TERM", state=machines[number % 2]), range(10)))
    assert [(code, told.get("error"), errors) for code, told, errors in runs] == [(0, "", "")] * 10
    left = left_of(cloud, user, time.monotonic())
    assert left.well(), left
    assert left.launched == 10
    assert [entry for machine in machines for entry in Journal(machine).entries("AWS")] == []
