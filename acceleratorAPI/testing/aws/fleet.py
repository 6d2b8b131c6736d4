"""The instances of the cloud: moto's records, the machines that belong to them, and the states between.

moto knows ``running``, ``stopped`` and ``terminated``; its instances are taught ``pending``, ``stopping`` and
``shutting-down`` here, for as long as the machine takes.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import itertools
import json
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acceleratorAPI.testing.aws import network
from acceleratorAPI.testing.aws.machine import Hardware, Isolation, Machine
from acceleratorAPI.testing.aws.metadata import MetadataService, Tree

STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
_BY_ITSELF = "Client.InstanceInitiatedShutdown: Instance initiated shutdown"
_SPOT_NOTICE_S = 120.0


@dataclass(frozen=True)
class FleetSettings:
    """How the machines are.

    Attributes:
        host_ports: see ``Hardware``.
        pending_s: from the call to ``running``; the boot begins then, as on AWS.
        ending_s: in ``stopping`` or ``shutting-down``, once the machine is off.
        baked_images: ids of the images that have the package.
    """

    folder: Path
    host_ports: tuple[int, ...]
    time_scale: float = 1.0
    pending_s: float = 0.1
    ending_s: float = 0.1
    baked_images: frozenset[str] = frozenset()
    pip_index: str = ""
    isolation: Isolation = "root"


@dataclass
class Kept:
    """An instance with its machine."""

    instance: Any
    machine: Machine | None = None
    booted: bool = False
    impaired: bool = False
    over: bool = False
    interruption: str = ""
    orders: queue.Queue[Callable[[], None]] = field(default_factory=queue.Queue)


class Fleet:
    """Carries out what moto's records say."""

    def __init__(self, settings: FleetSettings, lock: threading.RLock) -> None:
        self.settings = settings
        self.lock = lock
        self.kept: dict[str, Kept] = {}
        self._network = f"127.{64 + secrets.randbelow(63)}.{secrets.randbelow(200)}"
        self._hosts = itertools.count(1)
        self.boots = True

    def new_public_ip(self) -> str:
        """An address of this host's loopback that no other instance of this cloud has."""
        return str(ipaddress.IPv4Address(f"{self._network}.0") + next(self._hosts))

    # Orders, from moto's records; each instance carries out its own one after the other.

    def launch(self, instance: Any) -> None:
        """A new record: a machine for it."""
        kept = self.kept[instance.id] = Kept(instance)
        set_state(instance, "pending")
        network.start(lambda: self._work(kept), f"keeper of {instance.id}")
        kept.orders.put(lambda: self._boot(kept))

    def boot(self, instance: Any) -> None:
        """The record was stopped and is to run."""
        set_state(instance, "pending")
        kept = self.kept[instance.id]
        kept.orders.put(lambda: self._boot(kept))

    def reboot(self, instance: Any) -> None:
        """As pressing the button."""
        kept = self.kept[instance.id]

        def again() -> None:
            if kept.machine is not None and instance.state == "running":
                kept.machine.power_off()
                kept.impaired = False
                kept.machine.power_on(instance.public_ip, first=not kept.booted)

        kept.orders.put(again)

    def end(self, instance: Any, state: str, *, reason: str = "") -> None:
        """Switch off; ``state`` is ``stopped`` or ``terminated``."""
        set_state(instance, "stopping" if state == "stopped" else "shutting-down")
        if reason:
            instance._reason = reason
            instance.state_reason.message = reason
            instance.state_reason.code = reason.partition(":")[0]
        kept = self.kept[instance.id]
        kept.orders.put(lambda: self._end(kept, state))

    def _work(self, kept: Kept) -> None:
        while not kept.over:
            kept.orders.get()()
            kept.over |= kept.instance.state == "terminated"

    def _boot(self, kept: Kept) -> None:
        instance = kept.instance
        time.sleep(self.settings.pending_s)
        if kept.machine is None:
            kept.machine = self._machine(kept)
        with self.lock:
            if kept.over or instance.state != "pending":
                return
            set_state(instance, "running")
            if kept.machine.hardware.isolation == "none" and instance.public_ip:
                instance.nics[0].public_ip = kept.machine.hardware.public_ip
            if self.boots:
                kept.machine.power_on(instance.public_ip, first=not kept.booted)
                kept.booted = True

    def _end(self, kept: Kept, state: str) -> None:
        if kept.machine is not None:
            kept.machine.discard() if state == "terminated" else kept.machine.power_off()
        time.sleep(self.settings.ending_s)
        with self.lock:
            set_state(kept.instance, state)

    def _machine(self, kept: Kept) -> Machine:
        instance, settings = kept.instance, self.settings
        folder = settings.folder / instance.id
        folder.mkdir(parents=True)
        with self.lock:
            hardware = Hardware(
                instance.id, folder, instance.private_ip, user_data_of(instance), settings.host_ports,
                settings.time_scale, instance.image_id in settings.baked_images, settings.pip_index,
                settings.isolation, instance.public_ip or "",
            )  # fmt: skip
        service = MetadataService(lambda: self._metadata(kept))
        return Machine(
            hardware, service.serve, lambda port, address: self._allowed(instance, port, address),
            lambda action: kept.orders.put(lambda: self._went_off(kept, action)),
        )  # fmt: skip

    def _went_off(self, kept: Kept, action: str) -> None:
        """The instance shut itself down."""
        instance = kept.instance
        with self.lock:
            if kept.over or instance.state != "running":
                return
            if action == "crash":
                kept.impaired = True
            elif action == "reboot":
                self.reboot(instance)
            elif instance.instance_initiated_shutdown_behavior == "terminate":
                instance.terminate()
                self._say_why(instance)
            else:
                instance.stop()
                self._say_why(instance)

    def _say_why(self, instance: Any) -> None:
        instance._reason = _BY_ITSELF
        instance.state_reason.message, instance.state_reason.code = _BY_ITSELF, _BY_ITSELF.partition(":")[0]

    # What an instance sees, and who may see it.

    def _allowed(self, instance: Any, port: int, address: str) -> bool:
        with self.lock:
            groups = {group.id: group for nic in instance.nics.values() for group in nic.group_set}
            rules = [rule for group in groups.values() for rule in group.ingress_rules]
            return any(_rule_allows(rule, port, address) for rule in rules)

    def _metadata(self, kept: Kept) -> Tree:
        instance = kept.instance
        with self.lock:
            tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
            shown = instance.metadata_options.instance_metadata_tags == "enabled"
            meta: Tree = {
                "ami-id": instance.image_id,
                "hostname": instance.private_dns_name,
                "instance-id": instance.id,
                "instance-life-cycle": "spot" if instance.lifecycle == "spot" else "on-demand",
                "instance-type": instance.instance_type,
                "local-hostname": instance.private_dns_name,
                "local-ipv4": instance.private_ip,
                "placement": {
                    "availability-zone": instance.availability_zone,
                    "region": instance.region_name,
                },
                "security-groups": "\n".join(group.name for group in instance.security_groups),
            }
            if instance.public_ip:
                meta["public-ipv4"] = instance.public_ip
            if shown:
                meta["tags"] = {"instance": tags}
            if kept.interruption:
                meta["spot"] = {"instance-action": json.dumps({"action": "terminate", "time": kept.interruption})}
            document = {
                "accountId": instance.owner_id, "architecture": instance.architecture, "imageId": instance.image_id,
                "availabilityZone": instance.availability_zone, "instanceId": instance.id,
                "region": instance.region_name, "instanceType": instance.instance_type,
                "privateIp": instance.private_ip,
            }  # fmt: skip
            tree: Tree = {"meta-data": meta, "dynamic": {"instance-identity": {"document": json.dumps(document)}}}
            if text := user_data_of(instance):
                tree["user-data"] = text.decode("utf-8", "replace")
            return tree

    # For tests.

    def machines(self) -> Iterator[tuple[Any, Machine]]:
        """Every instance that has had a machine."""
        for kept in list(self.kept.values()):
            if kept.machine is not None:
                yield kept.instance, kept.machine

    def interrupt(self, kept: Kept, notice_s: float = _SPOT_NOTICE_S) -> None:
        """Take a spot instance back: announced in its metadata, terminated two of its own minutes later."""
        real_s = notice_s / self.settings.time_scale
        kept.interruption = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + real_s))

        def take() -> None:
            time.sleep(real_s)
            with self.lock:
                if not kept.over and kept.instance.state in ("running", "pending"):
                    kept.instance.terminate()
                    kept.instance.state_reason.message = "Server.SpotInstanceTermination: Spot instance termination"
                    kept.instance.state_reason.code = "Server.SpotInstanceTermination"

        network.start(take, f"spot interruption of {kept.instance.id}")

    def close(self) -> None:
        """Switch everything off and remove it."""
        with self.lock:
            for kept in self.kept.values():
                kept.over = True
                kept.orders.put(lambda: None)
        threads = [network.start(machine.discard, "discard") for _, machine in self.machines()]
        for thread in threads:
            thread.join()
        self.kept.clear()


def set_state(instance: Any, name: str) -> None:
    """Make the record say so."""
    instance._state.name, instance._state.code = name, STATES[name]


def user_data_of(instance: Any) -> bytes:
    """The user data of a record, decoded."""
    text = instance.user_data
    text = text[0] if isinstance(text, list) and text else text
    with contextlib.suppress(ValueError):
        return base64.b64decode(str(text or ""))
    return b""


def _rule_allows(rule: Any, port: int, address: str) -> bool:
    protocol = str(rule.ip_protocol)
    if protocol not in ("tcp", "6", "-1"):
        return False
    if protocol != "-1" and rule.from_port is not None and not int(rule.from_port) <= port <= int(rule.to_port):
        return False
    cidr = rule.ip_range.get("CidrIp")
    return bool(cidr) and ipaddress.ip_address(address) in ipaddress.ip_network(cidr, strict=False)
