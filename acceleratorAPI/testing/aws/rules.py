"""Where AWS says no, or not yet, and moto would say yes: ClientToken, limits, dependencies, eventual consistency."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

from acceleratorAPI.errors import nearest
from acceleratorAPI.testing.aws import answers, calls, moto_cloud
from acceleratorAPI.testing.aws.calls import Answer, Call
from acceleratorAPI.testing.aws.fleet import Fleet

_USER_DATA_LIMIT_BYTES = 16384
_GONE = ("shutting-down", "terminated")


@dataclass
class Settings:
    """What a test may change.

    Attributes:
        instances_lag: calls of DescribeInstances that do not see a new instance yet.
        profiles_lag: calls of RunInstances that do not see a new instance profile yet.
        groups_lag: the same for a new security group.
        keys_lag: the same for a new key.
        boots: whether instances run anything; without, they are ``running`` and never boot.
        fpga_images: global ids that DescribeFpgaImages knows.
        vcpu_limits: of running instances: ``standard``, ``F``, and ``spot``.
    """

    instances_lag: int = 0
    profiles_lag: int = 0
    groups_lag: int = 0
    keys_lag: int = 0
    boots: bool = True
    fpga_images: list[str] = field(default_factory=lambda: ["agfi-0123456789abcdef0"])
    vcpu_limits: dict[str, int] = field(default_factory=lambda: {"standard": 256, "F": 96, "spot": 256})


@dataclass
class _Launched:
    signature: str
    ids: list[str]
    answer: Answer


class Rules:
    """Called around every call that is carried out."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.settings = Settings()
        self._tokens: dict[tuple[str, str, str], _Launched] = {}
        self._unseen: dict[str, int] = {}
        self._hidden: dict[int, list[str]] = {}

    def reset(self) -> None:
        """As new."""
        self.settings = Settings()
        self._fleet.boots = True
        self._tokens.clear()
        self._hidden.clear()
        self._unseen.clear()

    def change(self, settings: dict[str, Any]) -> None:
        """Change some settings."""
        for name, value in settings.items():
            if not hasattr(self.settings, name):
                raise ValueError(f"no setting {name!r}; {nearest(name, vars(self.settings))}")
            setattr(self.settings, name, value)
        self._fleet.boots = self.settings.boots

    def before(self, call: Call) -> Answer | None:
        """An answer in moto's place."""
        if wrong := calls.clock_is_wrong(call):
            return wrong
        if call.service == "ec2":
            check = getattr(self, f"_before_{call.operation}", None)
            if check is not None:
                found: Answer | None = check(call)
                if found is not None:
                    return found
        return answers.answer(call, self._fleet, self.settings)

    def after(self, call: Call, answer: Answer) -> Answer:
        """Take note of what was done; the answer, changed where AWS's differs."""
        if answer.status >= 400:
            return answer
        if call.operation == "RunInstances":
            self._remember(call, answer)
        elif call.operation == "DescribeInstances":
            hidden = self._hidden.pop(call.number, None)
            body = _without(hidden, answer.body) if hidden else answer.body
            return Answer(answer.status, _with_processors(body), answer.headers)
        elif call.operation == "CreateInstanceProfile":
            self._unseen[f"profile {call.parameters.get('InstanceProfileName')}"] = self.settings.profiles_lag
        elif call.operation == "CreateSecurityGroup":
            for group in re.findall(rb"<groupId>(sg-[^<]+)<", answer.body):
                self._unseen[group.decode()] = self.settings.groups_lag
        elif call.operation in ("ImportKeyPair", "CreateKeyPair"):
            self._unseen[f"key {call.parameters.get('KeyName')}"] = self.settings.keys_lag
        return answer

    # RunInstances

    def _before_RunInstances(self, call: Call) -> Answer | None:  # noqa: N802 - the operation's name
        return (
            self._user_data_fits(call)
            or self._same_token(call)
            or self._not_seen_yet(call)
            or self._offered(call)
            or self._within_limits(call)
        )

    def _user_data_fits(self, call: Call) -> Answer | None:
        try:
            data = base64.b64decode(call.parameters.get("UserData", ""), validate=True)
        except ValueError:
            return calls.error(call, "InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
        if len(data) > _USER_DATA_LIMIT_BYTES:
            return calls.error(call, "InvalidParameterValue", "User data is limited to 16384 bytes")
        return None

    def _same_token(self, call: Call) -> Answer | None:
        token = call.parameters.get("ClientToken")
        if not token:
            return None
        if len(token) > 64:
            return calls.error(call, "InvalidParameterValue", "The client token is longer than 64 characters")
        known = self._tokens.get(self._token_key(call))
        if known is None:
            return None
        if known.signature != _signature(call):
            text = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
            return calls.error(call, "IdempotentParameterMismatch", text)
        if any(self._fleet.kept[i].instance.state in _GONE for i in known.ids if i in self._fleet.kept):
            text = "The client token you have provided is associated with a resource that is already terminated."
            return calls.error(call, "IdempotentInstanceTerminated", text)
        return known.answer

    def _token_key(self, call: Call) -> tuple[str, str, str]:
        # In a zone of its own when the call names one, else regional.
        named = "Placement.AvailabilityZone" in call.parameters or self._subnet(call)
        return call.region, call.zone if named else "", call.parameters.get("ClientToken", "")

    def _remember(self, call: Call, answer: Answer) -> None:
        ids = [found.decode() for found in re.findall(rb"<instanceId>(i-[0-9a-f]+)<", answer.body)]
        if call.parameters.get("ClientToken"):
            self._tokens[self._token_key(call)] = _Launched(_signature(call), ids, answer)
        tags = _tags(call, "network-interface")
        for instance_id in ids:
            self._unseen[instance_id] = self.settings.instances_lag
            for interface in self._fleet.kept[instance_id].instance.nics.values():
                interface.add_tags(tags)

    def _not_seen_yet(self, call: Call) -> Answer | None:
        told = call.parameters
        profile = told.get("IamInstanceProfile.Name") or told.get("IamInstanceProfile.Arn", "").rpartition("/")[2]
        if profile and self._still_unseen(f"profile {profile}"):
            text = (
                f"Value ({profile}) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
            )
            return calls.error(call, "InvalidParameterValue", text)
        if self._still_unseen(f"key {told.get('KeyName')}"):
            return calls.error(call, "InvalidKeyPair.NotFound", f"The key pair '{told['KeyName']}' does not exist")
        for value in told.values():
            if str(value).startswith("sg-") and self._still_unseen(value):
                return calls.error(call, "InvalidGroup.NotFound", f"The security group '{value}' does not exist")
        return None

    def _still_unseen(self, name: str) -> bool:
        left = self._unseen.get(name, 0)
        if left:
            self._unseen[name] = left - 1
        return left > 0

    def _offered(self, call: Call) -> Answer | None:
        kind, zone = call.parameters.get("InstanceType", ""), call.zone
        if zone and moto_cloud.vcpus(kind) and not moto_cloud.offered(call.region, zone, kind):
            text = (
                f"Your requested instance type ({kind}) is not supported in your requested Availability Zone ({zone})."
            )
            return calls.error(call, "Unsupported", text)
        return None

    def _within_limits(self, call: Call) -> Answer | None:
        kind = call.parameters.get("InstanceType", "")
        spot = call.parameters.get("InstanceMarketOptions.MarketType") == "spot"
        bucket = _bucket(kind, spot)
        running = sum(
            moto_cloud.vcpus(kept.instance.instance_type)
            for kept in self._fleet.kept.values()
            if kept.instance.region_name == call.region
            and kept.instance.state in ("pending", "running")
            and _bucket(kept.instance.instance_type, kept.instance.lifecycle == "spot") == bucket
        )
        limit = self.settings.vcpu_limits.get(bucket, 0)
        if running + moto_cloud.vcpus(kind) <= limit:
            return None
        if spot:
            return calls.error(call, "MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
        text = (
            f"You have requested more vCPU capacity than your current vCPU limit of {limit} allows for the instance"
            " bucket that the specified instance type belongs to."
        )
        return calls.error(call, "VcpuLimitExceeded", text)

    def _subnet(self, call: Call) -> str:
        return str(call.parameters.get("SubnetId") or call.parameters.get("NetworkInterface.1.SubnetId") or "")

    def zone(self, call: Call) -> str:
        """Where a launch goes; empty for other calls."""
        if call.operation != "RunInstances":
            return ""
        if zone := call.parameters.get("Placement.AvailabilityZone"):
            return str(zone)
        if subnet := self._subnet(call):
            found = moto_cloud.backend(call.region).subnets
            return next((z for z, subnets in found.items() if subnet in subnets), "")
        return f"{call.region}a"

    # Others

    def _before_DescribeInstances(self, call: Call) -> Answer | None:  # noqa: N802
        asked = [str(v) for k, v in call.parameters.items() if k.startswith("InstanceId.")]
        unseen = [instance_id for instance_id, left in self._unseen.items() if left and instance_id.startswith("i-")]
        if not unseen:
            return None
        for instance_id in unseen:
            self._unseen[instance_id] -= 1
        hidden = [instance_id for instance_id in asked if instance_id in unseen]
        if hidden:
            text = f"The instance ID '{hidden[0]}' does not exist"
            return calls.error(call, "InvalidInstanceID.NotFound", text)
        self._hidden[call.number] = unseen
        return None

    def _before_DeleteSecurityGroup(self, call: Call) -> Answer | None:  # noqa: N802
        group = call.parameters.get("GroupId") or call.parameters.get("GroupName")
        for kept in self._fleet.kept.values():
            used = [g for nic in kept.instance.nics.values() for g in nic.group_set] + list(
                kept.instance.security_groups
            )
            if kept.instance.state != "terminated" and any(group in (g.id, g.name) for g in used):
                return calls.error(call, "DependencyViolation", f"resource {group} has a dependent object")
        return None


def _tags(call: Call, resource: str) -> dict[str, str]:
    """The tags that a launch gives to resources of that type."""
    told = call.parameters
    found: dict[str, str] = {}
    for key, value in told.items():
        if key.startswith("TagSpecification.") and key.endswith(".ResourceType") and value == resource:
            prefix = key.removesuffix("ResourceType") + "Tag."
            names = {k: v for k, v in told.items() if k.startswith(prefix) and k.endswith(".Key")}
            found |= {name: told.get(k.removesuffix("Key") + "Value", "") for k, name in names.items()}
    return found


def _without(instance_ids: list[str], body: bytes) -> bytes:
    """The answer of DescribeInstances, less the reservations of these instances."""
    root = ET.fromstring(body)  # noqa: S314 - moto wrote it
    space = root.tag.partition("}")[0] + "}"
    ET.register_namespace("", space.strip("{}"))
    for reservations in root.iter(f"{space}reservationSet"):
        for reservation in list(reservations):
            if any(found.text in instance_ids for found in reservation.iter(f"{space}instanceId")):
                reservations.remove(reservation)
    return ET.tostring(root)


def _with_processors(body: bytes) -> bytes:
    """The answer of DescribeInstances, with the processors of each instance, which moto leaves out."""

    def added(found: re.Match[bytes]) -> bytes:
        count = str(moto_cloud.vcpus(found[1].decode())).encode()
        told = b"<coreCount>%b</coreCount><threadsPerCore>1</threadsPerCore>" % count
        return found[0] + b"<cpuOptions>" + told + b"</cpuOptions>"

    return re.sub(rb"<(?:\w+:)?instanceType>([^<]+)</(?:\w+:)?instanceType>", added, body)


def _signature(call: Call) -> str:
    compared = {k: v for k, v in sorted(call.parameters.items()) if k != "ClientToken"}
    return hashlib.sha256(json.dumps(compared).encode()).hexdigest()


def _bucket(instance_type: str, spot: bool) -> str:
    return "spot" if spot else "F" if re.match(r"f\d", instance_type) else "standard"
