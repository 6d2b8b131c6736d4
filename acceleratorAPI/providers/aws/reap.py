"""What was left behind: found by the journal on the machine that made it, and by tags from anywhere; then ended."""

from __future__ import annotations

import time
from dataclasses import dataclass

from acceleratorAPI.protocol.stop import StopMode
from acceleratorAPI.providers.aws import fleet, group, tags
from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.providers.aws.fleet import NAME, Seen
from acceleratorAPI.providers.aws.identity import Identity
from acceleratorAPI.providers.aws.launch import find_session, is_shown_by_now
from acceleratorAPI.providers.aws.ready import see
from acceleratorAPI.providers.aws.troubles import trying
from acceleratorAPI.providers.journal import Entry, Journal
from acceleratorAPI.providers.probe import lease_left_s

# Beyond its noted end, before another machine takes an instance for left behind.
_LATE_S = 600.0


def terminate(cloud: Cloud, region: str, instance_id: str) -> None:
    """End an instance for good; an answer means that it cannot come back. Gone already is fine.

    Raises:
        InstanceError: AWS refuses.
    """
    with trying(f"terminate {instance_id}", "InvalidInstanceID.NotFound"):
        cloud.ec2(region).terminate_instances(InstanceIds=[instance_id])


def replay(cloud: Cloud, journal: Journal, identity: Identity, *, dry_run: bool) -> list[str]:
    """Carry on where processes of this machine were killed; what was done, a line each.

    Raises:
        InstanceError: AWS refuses.
    """
    done: list[str] = []
    touched: set[str] = set()
    for entry in journal.entries(NAME):
        if entry.account != identity.account or not entry.owner_is_gone():
            continue
        step = _Replay(cloud, journal, entry, dry_run)
        told = step.run()
        if told:
            done.append(told)
        if step.touched and entry.region:
            touched.add(entry.region)
    for region in sorted(touched):
        done += prune(cloud, region, identity, dry_run=dry_run)
    return list(dict.fromkeys(done))


@dataclass
class _Replay:
    """One entry whose process is gone."""

    cloud: Cloud
    journal: Journal
    entry: Entry
    dry_run: bool
    touched: bool = False

    def run(self) -> str:
        entry = self.entry
        instance_id = entry.instance_id
        if not instance_id and entry.launch_token:
            instance_id = find_session(self.cloud, entry.region, entry.session)
            if not instance_id and not is_shown_by_now(entry.changed):
                return f"a launch in {entry.region}: AWS may still show its instance"
        if not instance_id:
            return self._forget("")
        seen = see(self.cloud, entry.region, instance_id)
        if seen is None or seen.gone:
            return self._forget("")
        unfinished = entry.state in ("intent", "made")
        if entry.stop_mode is StopMode.STOP and not unfinished:
            return self._stop(seen)
        if entry.stop_mode is StopMode.KEEP and not unfinished:
            return ""
        if not unfinished and entry.state != "ending" and (left := self._left_s(seen)):
            return f"{seen.id} in {entry.region}: it ends by itself in {left:.0f} s, unless it is used"
        if not self.dry_run:
            terminate(self.cloud, entry.region, seen.id)
        return self._forget(f"{seen.id} in {entry.region}: terminated, its process is gone")

    def _stop(self, seen: Seen) -> str:
        if seen.state in ("stopping", "stopped"):
            if not self.dry_run and self.entry.state != "stopped":
                self.journal.note(self.entry.session, "stopped")
                self.touched = True
            return ""
        if self.entry.state != "ending" and (left := self._left_s(seen)):
            return f"{seen.id} in {seen.region}: it stops by itself in {left:.0f} s, unless it is used"
        self.touched = True
        if not self.dry_run:
            with trying(f"stop {seen.id}"):
                self.cloud.ec2(seen.region).stop_instances(InstanceIds=[seen.id])
            self.journal.note(self.entry.session, "stopped")
        return f"{seen.id} in {seen.region}: stopped, its process is gone"

    def _left_s(self, seen: Seen) -> float:
        """Of its lease: another process may be using it."""
        if not seen.url:
            return 0.0
        return lease_left_s(seen.url, seen.tags.get(tags.FINGERPRINT, ""), self.entry.node_token) or 0.0

    def _forget(self, told: str) -> str:
        self.touched = True
        if not self.dry_run:
            self.journal.close(self.entry.session)
        return told


def everywhere(cloud: Cloud, journal: Journal, identity: Identity, *, dry_run: bool) -> list[str]:
    """The journal's, then what tags say in every region, then rules.

    Raises:
        InstanceError: AWS refuses.
    """
    done = replay(cloud, journal, identity, dry_run=dry_run)
    told = {line.split()[0] for line in done}
    for region in fleet.regions(cloud):
        for seen in fleet.look(cloud, region, fleet.owned(identity.owner)):
            if seen.id not in told and _is_left(seen):
                done.append(_end(cloud, seen, dry_run))
        done += prune(cloud, region, identity, dry_run=dry_run)
    return list(dict.fromkeys(done))


def prune(cloud: Cloud, region: str, identity: Identity, *, dry_run: bool) -> list[str]:
    """Remove this user's rules in a region that no running instance needs; what they allowed, a line each.

    Raises:
        InstanceError: AWS refuses.
    """
    living = fleet.look(cloud, region, fleet.owned(identity.owner))
    wanted: dict[str, set[str]] = {}
    for seen in living:
        for name in seen.groups if seen.state in ("pending", "running") else ():
            wanted.setdefault(name, set()).update(seen.networks)
    return group.prune(cloud, region, identity.owner, wanted, dry_run=dry_run)


def _is_left(seen: Seen) -> bool:
    return seen.state in ("pending", "running") and seen.until > 0 and time.time() > seen.until + _LATE_S


def _end(cloud: Cloud, seen: Seen, dry_run: bool) -> str:
    stops = seen.stop_mode is StopMode.STOP
    if not dry_run:
        if stops:
            with trying(f"stop {seen.id}"):
                cloud.ec2(seen.region).stop_instances(InstanceIds=[seen.id])
        else:
            terminate(cloud, seen.region, seen.id)
    late = (time.time() - seen.until) / 60
    return f"{seen.id} in {seen.region}: {'stopped' if stops else 'terminated'}, {late:.0f} minutes after its lease"
