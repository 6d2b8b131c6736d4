"""Whether the account's quota has room for one more machine: said before anything is made, where it may be asked."""

from __future__ import annotations

import re
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.providers.aws.machine import Machine
from acceleratorAPI.providers.aws.troubles import TROUBLES, LaunchRefusedError

# Each counts the vCPUs of its kinds of machine that run in a region: on demand, as spot capacity.
_CODES = {"F": ("L-74FC7D96", "L-88CF9481"), "standard": ("L-1216C47A", "L-34B43A08")}
_KINDS = re.compile(r"(?P<F>f)\d|(?P<standard>[acdhimrtz])\d")


def check_quota(cloud: Cloud, region: str, machine: Machine, *, spot: bool) -> None:
    """See that one more machine fits; when nobody tells, the launch itself will.

    Raises:
        LaunchRefusedError: it does not; another region has a quota of its own.
    """
    kind = _kind_of(machine.type)
    if kind is None:
        return
    try:
        asked = {"ServiceCode": "ec2", "QuotaCode": _CODES[kind][spot]}
        quota = cloud.client("service-quotas", region, once=True).get_service_quota(**asked)["Quota"]
        most = int(quota["Value"])
        used = 0 if machine.vcpus > most else _used(cloud, region, kind, spot=spot)
    except (ClientError, BotoCoreError, KeyError, ValueError):
        return
    if used + machine.vcpus > most:
        name = quota.get("QuotaName") or asked["QuotaCode"]
        raise LaunchRefusedError(
            f"AWS: {machine.type} has {machine.vcpus} vCPUs, and of the {most} that the quota {name!r} gives in"
            f" {region} {max(0, most - used)} are free; {TROUBLES['VcpuLimitExceeded'].advice}"
        )


def _kind_of(instance_type: str) -> str | None:
    found = _KINDS.match(instance_type)
    return found.lastgroup if found else None


def _used(cloud: Cloud, region: str, kind: str, *, spot: bool) -> int:
    living = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    pages = cloud.ec2(region).get_paginator("describe_instances").paginate(Filters=living)
    found = (record for page in pages for r in page["Reservations"] for record in r["Instances"])
    return sum(_vcpus(one) for one in found if _kind_of(one["InstanceType"]) == kind and _is_spot(one) == spot)


def _vcpus(record: dict[str, Any]) -> int:
    options = record.get("CpuOptions", {})
    return int(options.get("CoreCount", 0)) * int(options.get("ThreadsPerCore", 0))


def _is_spot(record: dict[str, Any]) -> bool:
    return record.get("InstanceLifecycle") == "spot"
