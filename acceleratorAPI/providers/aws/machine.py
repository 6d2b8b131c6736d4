"""The kind of machine, and the zones and subnets of a region that have it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from acceleratorAPI.errors import ConfigurationError, InstanceError
from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.providers.aws.troubles import LaunchRefusedError, trying

DEFAULT_TYPE = "c6i.xlarge"
DEFAULT_FPGA_TYPE = "f2.6xlarge"


@dataclass(frozen=True, slots=True)
class Machine:
    """A kind of machine: ``architecture`` as images name it."""

    type: str
    architecture: str
    vcpus: int
    fpgas: int


@dataclass(frozen=True, slots=True)
class Zone:
    """Where an instance may go."""

    name: str
    subnet: str
    vpc: str


def wanted_type(given: str | None, fpga_image: str | None, who: str = "[csp] instance_type") -> str:
    """The kind of machine asked for by ``who``.

    Raises:
        InstanceError: it is one that AWS has no longer.
    """
    name = given or (DEFAULT_FPGA_TYPE if fpga_image else DEFAULT_TYPE)
    if name.startswith("f1."):
        raise InstanceError(
            f"{who} = {name!r}: AWS retired F1 on 2025-12-20; use an f2 type"
            " (f2.6xlarge, f2.12xlarge, f2.48xlarge) with an image built for F2"
        )
    return name


def find_machine(cloud: Cloud, region: str, name: str) -> Machine:
    """What that kind of machine is.

    Raises:
        InstanceError: the region has no such kind.
    """
    with trying(f"use [csp] instance_type = {name!r} in {region}"):
        found = cloud.ec2(region).describe_instance_types(InstanceTypes=[name])["InstanceTypes"][0]
    architectures = found.get("ProcessorInfo", {}).get("SupportedArchitectures", ["x86_64"])
    return Machine(
        name,
        "x86_64" if "x86_64" in architectures else architectures[0],
        int(found.get("VCpuInfo", {}).get("DefaultVCpus", 0)),
        sum(int(fpga.get("Count", 0)) for fpga in found.get("FpgaInfo", {}).get("Fpgas", [])),
    )


def check_fpga_image(cloud: Cloud, region: str, machine: Machine, fpga_image: str) -> None:
    """See that the region knows an FPGA image and the machine has an FPGA, before anything costs money.

    Raises:
        ConfigurationError: it is no id of one.
        InstanceError: one of the two is not so.
    """
    if not re.fullmatch(r"agfi-[0-9a-f]{8,17}", fpga_image):
        raise ConfigurationError(
            f"[csp] fpga_image = {fpga_image!r}: use the global id of an FPGA image, agfi-..."
            " (aws ec2 describe-fpga-images)"
        )
    if not machine.fpgas:
        raise InstanceError(
            f"[csp] fpga_image: {machine.type} has no FPGA; use [csp] instance_type = {DEFAULT_FPGA_TYPE}"
        )
    with trying(f"look for [csp] fpga_image = {fpga_image!r} in {region}"):
        filters = [{"Name": "fpga-image-global-id", "Values": [fpga_image]}]
        found = cloud.ec2(region).describe_fpga_images(Filters=filters)["FpgaImages"]
    if not found:
        raise LaunchRefusedError(
            f"[csp] fpga_image = {fpga_image!r}: {region} has no such image this account may load;"
            " copy it there (aws ec2 copy-fpga-image) or ask its owner for the permission"
        )


def find_zones(cloud: Cloud, region: str, machine: Machine, subnet: str | None) -> list[Zone]:
    """The zones that offer the machine and have a subnet of ours, in a fixed order.

    Raises:
        InstanceError: there is none.
    """
    ec2 = cloud.ec2(region)
    with trying(f"look for subnets in {region}"):
        if subnet:
            found = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
        else:
            found = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    if not found:
        raise InstanceError(
            f"{region} has no default VPC: give [csp] subnet, or make one: aws ec2 create-default-vpc --region {region}"
        )
    with trying(f"look for zones with {machine.type} in {region}"):
        offered = {
            offer["Location"]
            for page in ec2.get_paginator("describe_instance_type_offerings").paginate(
                LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [machine.type]}]
            )
            for offer in page["InstanceTypeOfferings"]
        }
    zones = sorted(
        (Zone(s["AvailabilityZone"], s["SubnetId"], s["VpcId"]) for s in found if s["AvailabilityZone"] in offered),
        key=lambda zone: zone.name,
    )
    if not zones:
        where = f"the zone of {subnet}" if subnet else f"no zone of {region}"
        raise LaunchRefusedError(
            f"[csp] instance_type = {machine.type!r}: {where} offers it: give another region or type"
        )
    return zones
