"""A client of the emulated AWS, killed at every call it makes: what is left when all leases are over.

``scripts/soak-aws`` runs all of it; the test suite some points of it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import boto3

from acceleratorAPI.config import Configuration
from acceleratorAPI.providers.aws import launch
from acceleratorAPI.providers.aws.provider import AwsProvider
from acceleratorAPI.testing.aws import AwsCloud, Fault

How = Literal["before", "after", "lost"]
TIME_SCALE = 60
# Minutes of an instance, which are seconds here: longer than a client needs, or its node would end under it.
LEASE_MINUTES = 20
_CLIENT_S = 180

CLIENT = """
import os, signal, sys
from acceleratorAPI import Accelerator
from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.providers.aws import ready

ready.FIRST_PAUSE_S = 0.2
at, when = int(os.environ.get("KILL_AT", "0")), os.environ.get("KILL_WHEN", "")
count = 0
request = NodeClient._request

def counted(self, *arguments, **options):
    global count
    count += 1
    mine = count == at
    if mine and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = request(self, *arguments, **options)
    if mine:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

NodeClient._request = counted
with Accelerator("cast_gzip") as accelerator:
    accelerator.start(stop_mode=os.environ.get("STOP_MODE", "TERM"))
    assert accelerator.process(b"x" * 1000).data
    accelerator.stop()
print(count)
"""


@dataclass(frozen=True)
class Point:
    """Where a run is broken: at which call of the API or the node, and how."""

    side: Literal["cloud", "node"]
    call: int
    how: How
    operation: str = "*"

    def __str__(self) -> str:
        return f"{self.side} call {self.call} ({self.operation}) {self.how}"


@dataclass
class Report:
    """What was tried, and what was left."""

    points: int = 0
    launched: int = 0
    killed: int = 0
    left: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        left = ", ".join(f"{name} {count}" for name, count in sorted(self.left.items()) if count) or "nothing"
        tried = f"points tried {self.points}, clients killed {self.killed}, instances launched {self.launched}"
        return f"{tried}, left: {left}"


def run_client(cloud: AwsCloud, state: Path, point: Point | None = None, mode: str = "TERM") -> tuple[int, str]:
    """One start, process, stop; its exit code and what it printed."""
    settings = {
        "STATE_DIR": str(state), "CSP_PROVIDER": "AWS", "CSP_LEASE_MINUTES": str(LEASE_MINUTES),
        "CSP_ROLE": "SoakRole", "CSP_SSH_KEY": "soak", "CSP_SSH_PUBLIC_KEY": str(state / "id.pub"),
    }  # fmt: skip
    state.mkdir(parents=True, exist_ok=True)
    (state / "id.pub").write_text(f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43} soak\n")
    environment = os.environ | cloud.environment() | {f"ACCELERATOR_{name}": text for name, text in settings.items()}
    environment["STOP_MODE"] = mode
    if point is not None and point.side == "cloud":
        kill = "" if point.how == "lost" else point.how
        cloud.plan(Fault(point.operation, nth=point.call, lost=point.how == "lost", kill=kill))
    elif point is not None:
        environment |= {"KILL_AT": str(point.call), "KILL_WHEN": point.how}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT],
        env=environment, capture_output=True, text=True, timeout=_CLIENT_S, check=False,
    )  # fmt: skip
    cloud.clear_faults()
    return done.returncode, done.stdout.strip() or done.stderr[-2000:]


def all_points(cloud: AwsCloud, state: Path) -> list[Point]:
    """Every call of an undisturbed run, three times; polling counts as one call."""
    before = len(cloud.calls())
    code, told = run_client(cloud, state)
    if code:
        raise SystemExit(f"the undisturbed run fails: {told}")
    names = [call.operation for call in cloud.calls()[before:]]
    points = []
    for name, count in Counter(names).items():
        # Of a call that is only repeated until it answers differently, the first three are enough.
        most = min(count, 3) if name == "DescribeInstances" else count
        points += [Point("cloud", nth, how, name) for nth in range(1, most + 1) for how in ("before", "after", "lost")]
    return points + [Point("node", nth, how) for nth in range(1, int(told) + 1) for how in ("before", "after")]


def try_points(cloud: AwsCloud, folder: Path, points: list[Point], mode: str = "TERM") -> Report:
    """Break one run at each point, wait until every lease is over, and count what is left."""
    report = Report(points=len(points))
    for number, point in enumerate(points):
        code, told = run_client(cloud, folder / f"{number}", point, mode)
        report.killed += code == -signal.SIGKILL
        if code not in (0, -signal.SIGKILL):
            report.told.append(f"{point}: exit code {code}: {told}")
    report.launched = len(cloud.instances())
    deadline = time.monotonic() + LEASE_MINUTES * 60 / TIME_SCALE + 30
    while cloud.instances("pending", "running") and time.monotonic() < deadline:
        time.sleep(0.2)
    report.left["running instances"] = len(cloud.instances("pending", "running"))
    # What only a client can clean up: by the journal of each killed one, then by tags. This cloud shows at once what
    # it has, so that there is nothing to wait for.
    launch._SHOWN_WITHIN_S = 0.0
    for number in range(len(points)):
        _provider(cloud, folder / f"{number}")._replay()
    _provider(cloud, folder / "other machine").reap(dry_run=False)
    report.left += _left(cloud, [folder / f"{number}" for number in range(len(points))])
    return report


def _provider(cloud: AwsCloud, state: Path) -> AwsProvider:
    os.environ.update(cloud.environment())
    settings = {("general", "state_dir"): str(state), ("csp", "provider"): "AWS", ("csp", "role"): "SoakRole"}
    return AwsProvider(Configuration.load(None, settings))


def _left(cloud: AwsCloud, states: list[Path]) -> Counter[str]:
    from acceleratorAPI.providers.journal import Journal

    environment = cloud.environment()
    where: dict[str, Any] = {"endpoint_url": cloud.endpoint, "region_name": environment["AWS_DEFAULT_REGION"]}
    ec2, iam = boto3.client("ec2", **where), boto3.client("iam", **where)
    groups = ec2.describe_security_groups()["SecurityGroups"]
    ours = [group for group in groups if group["GroupName"].startswith("acceleratorAPI-")]
    roles = [role["RoleName"] for role in iam.list_roles(PathPrefix="/acceleratorAPI/")["Roles"]]
    whole = [
        profile["InstanceProfileName"]
        for profile in iam.list_instance_profiles(PathPrefix="/acceleratorAPI/")["InstanceProfiles"]
        if profile["Roles"]
    ]
    volumes = [
        v for v in ec2.describe_volumes()["Volumes"] if v["State"] == "in-use" and not cloud.instances("stopped")
    ]
    return Counter(
        {
            "rules": sum(len(group["IpPermissions"]) for group in ours),
            "second groups": max(0, len(ours) - 1),
            "half-made roles": len(set(roles) ^ set(whole)),
            "second keys": max(0, len(ec2.describe_key_pairs()["KeyPairs"]) - 1),
            "volumes in use": len(volumes),
            "journal entries": sum(len(Journal(state).entries("AWS")) for state in states),
        }
    )


def main() -> int:
    """Try every point; 1 when anything is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", default="TERM", choices=("TERM", "STOP"))
    parser.add_argument("--every", type=int, default=1, help="only each N-th point")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with TemporaryDirectory() as folder, AwsCloud(time_scale=TIME_SCALE) as cloud:
        points = all_points(cloud, Path(folder) / "first")[:: given.every]
        cloud.reset()
        report = try_points(cloud, Path(folder), points, given.mode)
    print(json.dumps(vars(report)) if given.json else report)
    for line in report.told:
        print(f"  told: {line}")
    return 1 if sum(report.left.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
