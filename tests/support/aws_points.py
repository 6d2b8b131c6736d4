"""Where and how runs of clients of the emulated AWS are broken, and what is left when their leases are over."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self
from unittest import mock

import boto3
from clocks import WrongClock

from acceleratorAPI.config import Configuration
from acceleratorAPI.protocol.stop import StopMode
from acceleratorAPI.providers.aws import fleet, launch
from acceleratorAPI.providers.aws.provider import AwsProvider
from acceleratorAPI.providers.journal import Journal
from acceleratorAPI.testing.aws import AwsCloud

TIME_SCALE = 60
# Minutes of an instance, which are seconds here: longer than a client is silent, or its node would end under it.
LEASE_MINUTES = 20
LEASE_S = LEASE_MINUTES * 60 / TIME_SCALE
# A cut shorter than the lease.
CUT_S = 4.0
DAY_S = 86400
# After the lease: what a shutdown takes, and the guard's next look.
_ENDS_WITHIN_S = 40.0
_CLIENT_S = 400.0
_CLIENT = Path(__file__).with_name("aws_client.py")
# Repeated until the answer is another one: the first three say it all.
_POLLS = ("start cloud DescribeInstances", "process node GET /v2/jobs/*", "file node GET /v2/jobs/*")

# before, after: the client is killed before the call, or when it is done and not yet answered.
# lost: it is done and the answer never comes. expired: from here on the credentials are too old.
# down, died: the node is killed before it, or when it is done and not yet answered.
# ahead, behind: from here on the client's clock is a day off, until the run has ended.
# cut: the instance's network is cut for less than its lease; gone: for good.
How = Literal["before", "after", "lost", "expired", "ahead", "behind", "down", "died", "cut", "gone"]
KILLS: tuple[How, ...] = ("before", "after", "lost")


class Call(NamedTuple):
    """One call of a run."""

    phase: str
    side: str
    operation: str
    number: int

    def __str__(self) -> str:
        return " ".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """What ``str`` made."""
        phase, side, rest = text.split(" ", 2)
        operation, _, number = rest.rpartition(" ")
        return cls(phase, side, operation, int(number))


class Point(NamedTuple):
    """A run, and where it breaks."""

    mode: str
    call: Call
    how: How

    def __str__(self) -> str:
        return f"{self.mode} {self.how}: {self.call}"


@dataclass
class Tally:
    """What was tried and what was left; sums of several are sums of all.

    Attributes:
        right: runs whose output was right and that ended by their stop mode.
        told: runs that ended with an error that says why.
        unstruck: runs that never came to the call.
        left: of what is never to be left, by kind.
        wrong: what else was not as it must be, a line each.
    """

    points: int = 0
    killed: int = 0
    right: int = 0
    told: int = 0
    unstruck: int = 0
    launched: int = 0
    left: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in what another has counted."""
        for name in ("points", "killed", "right", "told", "unstruck", "launched"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.left += other.left
        self.wrong += other.wrong

    def well(self) -> bool:
        """Whether nothing was left and nothing was wrong."""
        return not (self.left.total() or self.wrong or self.unstruck)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


class User:
    """A user of the account, whose instances are nobody else's, with a machine of its own.

    Attributes:
        key: id of its access key.
        state: its state folder.
    """

    def __init__(self, cloud: AwsCloud, folder: Path, name: str) -> None:
        """Make it known to the cloud."""
        self._cloud, self.name, self.folder = cloud, name, folder / name
        self.state = self.folder / "state"
        self.state.mkdir(parents=True)
        (self.folder / "id.pub").write_text(f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43} {name}\n")
        with _client(cloud, "iam") as iam:
            iam.create_user(UserName=name)
        self.clock = WrongClock(self.folder)
        self.new_key()

    def new_key(self) -> None:
        """Get new credentials."""
        with _client(self._cloud, "iam") as iam:
            made = iam.create_access_key(UserName=self.name)["AccessKey"]
        self.key, self.secret = str(made["AccessKeyId"]), str(made["SecretAccessKey"])

    def environment(self, state: Path | None = None) -> dict[str, str]:
        """Of its client, on its machine or on another one with that state folder."""
        settings = {
            "STATE_DIR": str(state or self.state), "CSP_PROVIDER": "AWS", "CSP_LEASE_MINUTES": str(LEASE_MINUTES),
            "CSP_ROLE": f"{self.name}-role", "CSP_SSH_KEY": f"{self.name}-key",
            "CSP_SSH_PUBLIC_KEY": str(self.folder / "id.pub"), "GENERAL_CONNECTIONS": "2",
        }  # fmt: skip
        own = {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}
        return self._cloud.environment() | own | {f"ACCELERATOR_{name}": text for name, text in settings.items()}

    def provider(self, state: Path) -> AwsProvider:
        """Its provider in this process, on a machine with that state folder."""
        settings: dict[tuple[str, str], Any] = {
            ("general", "state_dir"): str(state), ("csp", "client_id"): self.key, ("csp", "secret_id"): self.secret,
            ("csp", "role"): f"{self.name}-role",
        }  # fmt: skip
        return AwsProvider(Configuration.load(None, settings))

    def run(
        self, mode: str, call: Call | None = None, how: How | None = None, state: Path | None = None
    ) -> tuple[int, dict[str, Any], str]:
        """One start, process, stop; its exit code, what it told, and its error output."""
        given = {"call": call, "how": how, "stop_mode": mode, "folder": str(self.folder)}
        environment = os.environ | self.environment(state)
        if how in ("ahead", "behind"):
            environment |= self.clock.environment()
        done = subprocess.run(
            [sys.executable, _CLIENT, json.dumps(given)],
            env=environment, capture_output=True, text=True, timeout=_CLIENT_S, check=False,
        )  # fmt: skip
        told = json.loads(done.stdout) if done.stdout.strip() else {}
        return done.returncode, told, done.stderr


def calls_of_a_run(cloud: AwsCloud, folder: Path, mode: str) -> list[Call]:
    """Every call of an undisturbed run; of those that are only repeated, the first three."""
    code, told, errors = User(cloud, folder, f"plain-{mode}").run(mode)
    if code or told["error"]:
        raise RuntimeError(f"the undisturbed run fails: {told} {errors}")
    found = [Call.parse(text) for text in told["calls"]]
    return [call for call in found if call.number <= 3 or not str(call).startswith(_POLLS)]


def points(mode: str, found: Iterable[Call], side: str, hows: Iterable[How]) -> list[Point]:
    """Every call of a side, broken in each way."""
    return [Point(mode, call, how) for call in found if call.side == side for how in hows]


def break_at(cloud: AwsCloud, folder: Path, name: str, point: Point) -> tuple[User, Tally]:
    """Run until it breaks; what became of the run is counted, what is left is not."""
    user = User(cloud, folder, name)
    code, told, errors = user.run(point.mode, point.call, point.how)
    if point.how == "expired":
        user.new_key()
    tally = Tally(points=1)
    if code == -signal.SIGKILL and point.how in ("before", "after"):
        tally.killed = 1
    elif code or "Traceback" in errors:
        tally.wrong.append(f"{point}: exit code {code}: {errors[-1500:]}")
    elif not told["struck"]:
        tally.unstruck = 1
    elif told["error"]:
        tally.told = 1
        if "\n" in told["error"]:
            tally.wrong.append(f"{point}: an error of several lines: {told['error']}")
    else:
        tally.right = 1
    tally.left["half outputs"] = sum(not _is_whole(out) for out in user.folder.glob("client-*/out"))
    if told.get("error"):
        print(f"  {point}: {told['took_s']:.0f} s: {told['error']}", file=sys.stderr)
    return user, tally


def left_of(cloud: AwsCloud, user: User, ended_at: float) -> Tally:
    """Wait for the user's lease, let the next client and ``reap`` do what they do, and count what is left.

    Args:
        cloud: with the user.
        user: whose client has ended.
        ended_at: when, on the monotonic clock.
    """
    tally = Tally()
    owner = user.provider(user.state)._identity().owner

    def owned(*states: str) -> list[Any]:
        return [i for i in cloud.instances(*states) if i.tags.get("acceleratorAPI:owner") == owner]

    tally.launched = len(owned())
    deadline = ended_at + LEASE_S + _ENDS_WITHIN_S
    while owned("pending", "running", "stopping", "shutting-down") and time.monotonic() < deadline:
        time.sleep(0.2)
    # Nobody has helped so far: these would have run on.
    tally.left["running instances"] = len(owned("pending", "running"))
    if tally.left["running instances"]:
        tally.wrong += [f"{i.id} runs; its console ends: {cloud.console(i.id)[-1000:]}" for i in owned("running")]
    # What only a client can see to: the next one of this machine by its journal, then `reap` of any machine. This cloud
    # shows at once what it has, and only one region is used.
    at_once = mock.patch.object(launch, "_SHOWN_WITHIN_S", 0.0)
    with at_once, mock.patch.object(fleet, "regions", lambda account: [account.region]):
        user.provider(user.state)._replay()
        user.provider(user.folder / "other machine").reap(dry_run=False)
    tally.left += _things(cloud, owner, user)
    kept = {instance.id for instance in owned("stopped")}
    entries = Journal(user.state).entries("AWS")
    stopped = {entry.instance_id for entry in entries if (entry.state, entry.stop_mode) == ("stopped", StopMode.STOP)}
    tally.left["journal entries"] += len(entries) - len(stopped & kept)
    tally.left["instances nobody knows"] += len(kept - stopped)
    return tally


def _things(cloud: AwsCloud, owner: str, user: User) -> Counter[str]:
    """What describes of EC2 and IAM show of a user's, that must not be there."""
    with _client(cloud, "ec2") as ec2, _client(cloud, "iam") as iam:
        groups = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [f"acceleratorAPI-{owner}"]}])
        keys = ec2.describe_key_pairs(Filters=[{"Name": "key-name", "Values": [f"{user.name}-key"]}])["KeyPairs"]
        path = f"/acceleratorAPI/{owner}/"
        roles = [role["RoleName"] for role in iam.list_roles(PathPrefix=path)["Roles"]]
        # moto lists them all.
        profiles = [one for one in iam.list_instance_profiles()["InstanceProfiles"] if one["Path"] == path]
        whole = [profile["InstanceProfileName"] for profile in profiles if profile["Roles"]]
        asked = [{"Name": "tag:acceleratorAPI:owner", "Values": [owner]}]
        volumes = ec2.describe_volumes(Filters=asked)["Volumes"]
        reservations = ec2.describe_instances(Filters=asked)["Reservations"]
    states = Counter(instance["State"]["Name"] for r in reservations for instance in r["Instances"])
    return Counter(
        {
            "running instances": states["running"] + states["pending"],
            "rules": sum(len(group["IpPermissions"]) for group in groups["SecurityGroups"]),
            "second groups": max(0, len(groups["SecurityGroups"]) - 1),
            "half-made roles": len(set(roles) ^ set(whole)) + len(profiles) - len(whole),
            "second keys": max(0, len(keys) - 1),
            "volumes": max(0, len(volumes) - states["stopped"]),
        }
    )


def _is_whole(path: Path) -> bool:
    return subprocess.run(["gzip", "-t", path], check=False, capture_output=True).returncode == 0


def _client(cloud: AwsCloud, service: str) -> Any:
    """Of the account's owner; ``with`` closes it."""
    environment = cloud.environment()
    session = boto3.session.Session(
        environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1"
    )
    return contextlib.closing(session.client(service, endpoint_url=cloud.endpoint))
