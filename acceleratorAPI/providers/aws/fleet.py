"""The instances of this user as AWS shows them, in every region, by their tags."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from acceleratorAPI.errors import InstanceError
from acceleratorAPI.protocol.stop import StopMode
from acceleratorAPI.providers.aws import tags
from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.providers.aws.troubles import trying
from acceleratorAPI.providers.base import Instance, Status

NAME = "AWS"
_STATUS: Mapping[str, Status] = {
    "pending": "starting", "running": "running", "stopping": "stopped", "stopped": "stopped",
}  # fmt: skip
_GONE = ("shutting-down", "terminated")
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Seen:
    """One instance as AWS showed it.

    Attributes:
        region: where it is.
        record: as DescribeInstances gives it.
    """

    region: str
    record: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Of the instance."""
        return str(self.record["InstanceId"])

    @property
    def state(self) -> str:
        """As AWS names it."""
        return str(self.record["State"]["Name"])

    @property
    def gone(self) -> bool:
        """Whether it cannot come back."""
        return self.state in _GONE

    @property
    def tags(self) -> dict[str, str]:
        """What is written on it."""
        return tags.as_mapping(self.record.get("Tags"))

    @property
    def started(self) -> datetime:
        """When it was launched, or started last."""
        launched: datetime = self.record["LaunchTime"]
        return launched

    @property
    def stop_mode(self) -> StopMode:
        """What becomes of it when its user is gone."""
        return StopMode.parse(self.tags.get(tags.MODE) or StopMode.TERM)

    @property
    def until(self) -> float:
        """Its last noted end, in seconds since the epoch; 0 when there is none."""
        text = self.tags.get(tags.UNTIL, "")
        return float(text) if text.isdecimal() else 0.0

    @property
    def networks(self) -> set[str]:
        """Of those who use it."""
        return set(self.tags.get(tags.FROM, "").split())

    @property
    def address(self) -> str:
        """Of its node, as clients reach it; empty while it has none."""
        kind = "PrivateIpAddress" if self.tags.get(tags.PRIVATE) == "yes" else "PublicIpAddress"
        return str(self.record.get(kind) or "")

    @property
    def url(self) -> str:
        """Of its node; empty while it does not run."""
        port = self.tags.get(tags.PORT, "443")
        return f"https://{self.address}{'' if port == '443' else f':{port}'}" if self.address else ""

    @property
    def groups(self) -> list[str]:
        """Ids of its security groups."""
        at = [self.record.get("SecurityGroups", [])]
        at += [interface.get("Groups", []) for interface in self.record.get("NetworkInterfaces", [])]
        return list(dict.fromkeys(group["GroupId"] for groups in at for group in groups))

    @property
    def usd_per_hour(self) -> float:
        """As it was known at the launch."""
        try:
            return float(self.tags.get(tags.PRICE, "0"))
        except ValueError:
            return 0.0

    def cost_usd(self) -> float:
        """What it has cost since it was started."""
        hours = (datetime.now(UTC) - self.started).total_seconds() / 3600
        return 0.0 if self.state == "stopped" else max(0.0, hours) * self.usd_per_hour

    def describe(self, token: str, lease_s: float, keep_s: float) -> Instance:
        """As the provider contract has it."""
        status = _STATUS.get(self.state, "stopped")
        return Instance(
            id=self.id,
            provider=NAME,
            accelerator=self.tags.get(tags.ACCELERATOR, ""),
            status=status,
            url=self.url if status == "running" else "",
            created=self.started.isoformat(timespec="milliseconds"),
            stop_mode=self.stop_mode,
            token=token,
            fingerprint=self.tags.get(tags.FINGERPRINT, ""),
            lease_s=lease_s,
            keep_s=keep_s,
            usd_per_hour=self.usd_per_hour,
            fpga_image=self.tags.get(tags.FPGA_IMAGE, ""),
            details=self._details(),
        )

    def _details(self) -> dict[str, str]:
        left_s = self.until - time.time()
        fpga_image = self.tags.get(tags.FPGA_IMAGE)
        return {
            "region": self.region,
            "type": str(self.record.get("InstanceType", "")),
            "age": _span(datetime.now(UTC).timestamp() - self.started.timestamp()),
            "lease": "" if not self.until else f"{_span(left_s)} at most" if left_s > 0 else "over",
            "cost": f"${self.cost_usd():.2f}" if self.usd_per_hour else "unknown",
            **({"fpga image": fpga_image} if fpga_image else {}),
        }


def look(cloud: Cloud, region: str, filters: Mapping[str, Iterable[str]]) -> list[Seen]:
    """The instances of a region that fit, those long gone included.

    Raises:
        InstanceError: AWS refuses.
    """
    asked = [{"Name": name, "Values": list(values)} for name, values in filters.items()]
    with trying(f"look for instances in {region}"):
        pages = cloud.ec2(region).get_paginator("describe_instances").paginate(Filters=asked)
        return [Seen(region, record) for page in pages for r in page["Reservations"] for record in r["Instances"]]


def owned(owner: str) -> dict[str, list[str]]:
    """The filters of that user's instances that are not gone."""
    return {f"tag:{tags.OWNER}": [owner], "instance-state-name": ["pending", "running", "stopping", "stopped"]}


def look_everywhere(cloud: Cloud, filters: Mapping[str, Iterable[str]]) -> list[Seen]:
    """The same of all regions the account may use, oldest first.

    Raises:
        InstanceError: AWS refuses; of a region the account is kept out of, nothing is said.
    """
    names = regions(cloud)

    def one(region: str) -> list[Seen]:
        try:
            return look(cloud, region, filters)
        except InstanceError:
            if region == cloud.region:
                raise
            return []

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = [seen for some in pool.map(one, names) for seen in some]
    return sorted(found, key=lambda seen: seen.started)


def regions(cloud: Cloud) -> list[str]:
    """The regions the account may use, its own first."""
    with trying("list the regions"):
        names = {region["RegionName"] for region in cloud.ec2().describe_regions()["Regions"]}
    return [cloud.region, *sorted(names - {cloud.region})]


def find(cloud: Cloud, filters: Mapping[str, Iterable[str]], hints: Iterator[str] | Iterable[str] = ()) -> list[Seen]:
    """What fits and is not gone: in the hinted regions, else in the cloud's own, else anywhere."""
    for region in dict.fromkeys((*hints, cloud.region)):
        if found := [seen for seen in look(cloud, region, filters) if not seen.gone]:
            return found
    return [seen for seen in look_everywhere(cloud, filters) if not seen.gone]


def _span(seconds: float) -> str:
    minutes = max(0, int(seconds // 60))
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
