"""A client that is killed, or gets no answers, leaves nothing. All points: scripts/soak-aws."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from soak_aws import TIME_SCALE, Point, try_points

from acceleratorAPI.testing.aws import AwsCloud


@pytest.fixture
def cloud(running_cloud: AwsCloud) -> Iterator[AwsCloud]:
    assert TIME_SCALE == 60
    running_cloud.reset()
    yield running_cloud
    running_cloud.clear_faults()


def test_a_client_killed_at_any_call_leaves_nothing(cloud: AwsCloud, tmp_path: Path) -> None:
    points = [
        Point("cloud", 1, "after", "CreateRole"),
        Point("cloud", 1, "before", "RunInstances"),
        Point("cloud", 1, "after", "RunInstances"),
        Point("node", 3, "after"),
        Point("cloud", 1, "before", "TerminateInstances"),
    ]
    report = try_points(cloud, tmp_path, points)
    assert report.killed == len(points), report.told
    assert report.launched == 3
    assert sum(report.left.values()) == 0, report


def test_a_client_without_an_answer_goes_on(cloud: AwsCloud, tmp_path: Path) -> None:
    report = try_points(cloud, tmp_path, [Point("cloud", 1, "lost", "RunInstances")])
    assert report.told == []
    assert report.launched == 1
    assert sum(report.left.values()) == 0, report
