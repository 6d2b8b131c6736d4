"""All that a launch in one region needs, made sure of before it: image, machine, zones, group, key, role, price."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from acceleratorAPI.config import Configuration
from acceleratorAPI.protocol.stop import StopMode
from acceleratorAPI.providers.aws import group, image, keypair, machine, role, tags
from acceleratorAPI.providers.aws.cloud import Cloud, Steps
from acceleratorAPI.providers.aws.identity import Identity
from acceleratorAPI.providers.aws.machine import Zone
from acceleratorAPI.providers.aws.pricing import price_of
from acceleratorAPI.providers.aws.quota import check_quota
from acceleratorAPI.providers.aws.userdata import GRACE_MINUTES


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be launched in a region.

    Attributes:
        zones: where, in this order.
        group: id of the security group.
        request: of RunInstances, but for token, zone and subnet.
    """

    region: str
    zones: tuple[Zone, ...]
    group: str
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Order:
    """What is the same in every region.

    Attributes:
        session: names the instance.
        needs: of the function, by region; see ``InstanceSpec``.
        networks: which may reach the node.
    """

    identity: Identity
    session: str
    accelerator: str
    needs: Mapping[str, Mapping[str, str]]
    networks: tuple[str, ...]
    fingerprint: str
    user_data: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an instance of one region is made of; ``None`` where nobody says."""

    instance_type: str | None
    image: str | None
    fpga_image: str | None


def what_boots(configuration: Configuration, needs: Mapping[str, str]) -> Wanted:
    """What the settings say, else what the function needs in the region."""

    def first(setting: str, need: str) -> str | None:
        return configuration.get("csp", setting) or needs.get(need) or None

    kind = first("instance_type", "instancetype")
    # The function's FPGA image is for its kind of machine: another one that was asked for may have no FPGA.
    fits = kind == needs.get("instancetype")
    fpga_image = first("fpga_image", "fpgaimage") if fits else configuration.get("csp", "fpga_image") or None
    return Wanted(kind, first("image", "image"), fpga_image)


def make_plan(cloud: Cloud, configuration: Configuration, order: Order, region: str, steps: Steps) -> Plan:
    """Make sure of everything but the instance. Each step may have been done by an earlier run, or be done by another.

    Raises:
        ConfigurationError: a setting is wrong.
        InstanceError: AWS refuses.
    """
    get, wanted = configuration.get, what_boots(configuration, order.needs.get(region, {}))
    who = "[csp] instance_type" if get("csp", "instance_type") else "instancetype of the store's catalogue"
    kind = machine.find_machine(cloud, region, machine.wanted_type(wanted.instance_type, wanted.fpga_image, who))
    if wanted.fpga_image:
        machine.check_fpga_image(cloud, region, kind, wanted.fpga_image)
    check_quota(cloud, region, kind, spot=bool(get("csp", "spot")))
    zones = machine.find_zones(cloud, region, kind, get("csp", "subnet"))
    booted = image.find_image(cloud, region, wanted.image, kind.architecture)
    steps.say("%s: %s in %s, image %s (%s)", region, kind.type, _listed(zones), booted.id, booted.name)
    labels = tags.of_user(get("csp", "tags")) | {tags.OWNER: order.identity.owner}
    security = group.ensure_group(
        cloud, region, zones[0].vpc, get("csp", "security_group") or order.identity.prefix, tags.as_list(labels)
    )
    port, ssh_key = get("csp", "node_port"), get("csp", "ssh_key")
    group.let_in(cloud, region, security, order.identity.owner, order.networks, port, ssh=bool(ssh_key))
    steps.say("security group %s lets in %s", security, ", ".join(order.networks))
    if ssh_key:
        keypair.ensure_key(cloud, region, ssh_key, get("csp", "ssh_public_key"), tags.as_list(labels))
    if get("csp", "role"):
        role.ensure_role(cloud, get("csp", "role"), order.identity, tags.as_list(labels))
    price = price_of(cloud, region, kind.type, spot=bool(get("csp", "spot")))
    steps.say("%s costs %s", kind.type, price)
    labels |= {
        "Name": f"{order.identity.prefix}-{order.accelerator}",
        tags.SESSION: order.session,
        tags.ACCELERATOR: order.accelerator,
        tags.MODE: StopMode.TERM.name,
        tags.UNTIL: str(int(time.time()) + GRACE_MINUTES * 60),
        tags.FROM: " ".join(order.networks),
        tags.PORT: str(port),
        tags.FINGERPRINT: order.fingerprint,
        tags.PRICE: f"{price.usd_per_hour:.6g}",
        tags.PRIVATE: "yes" if get("csp", "private_address") else "no",
    }
    if wanted.fpga_image:
        labels[tags.FPGA_IMAGE] = wanted.fpga_image
    return Plan(region, tuple(zones), security, _request(configuration, order, kind.type, booted, security, labels))


def _request(
    configuration: Configuration,
    order: Order,
    instance_type: str,
    booted: image.Image,
    security: str,
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """All in one call: nothing that keeps the instance from living on is done after it exists."""
    get = configuration.get
    marked = ["instance", "volume", "network-interface"]
    request: dict[str, Any] = {
        "ImageId": booted.id,
        "InstanceType": instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        # botocore would encode it itself; as text it can be written down and sent again as it is.
        "UserData": order.user_data,
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
            "HttpEndpoint": "enabled",
            "InstanceMetadataTags": "disabled",
        },
        "BlockDeviceMappings": booted.mappings(get("csp", "volume_gb")),
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "Groups": [security],
                "AssociatePublicIpAddress": not get("csp", "private_address"),
                "DeleteOnTermination": True,
            }
        ],
    }
    if get("csp", "ssh_key"):
        request["KeyName"] = get("csp", "ssh_key")
    if get("csp", "role"):
        request["IamInstanceProfile"] = {"Name": get("csp", "role")}
    if get("csp", "spot"):
        options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
        marked.append("spot-instances-request")
    request["TagSpecifications"] = [{"ResourceType": kind, "Tags": tags.as_list(labels)} for kind in marked]
    return request


def _listed(zones: list[Zone]) -> str:
    return ", ".join(zone.name for zone in zones)
