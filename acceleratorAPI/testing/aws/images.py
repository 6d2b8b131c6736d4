"""The images the cloud offers besides moto's, the parameters that name them, and prices. All made up but the names."""

from __future__ import annotations

import hashlib
from typing import Any

_ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
_CANONICAL, _DEBIAN, _SELF = "099720109477", "136693071363", "123456789012"
BAKED_PREFIX = "acceleratorapi-"


def image_id(name: str) -> str:
    """The id of the image of that name; the same in every region, which AWS does not do."""
    return f"ami-0{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _names() -> list[tuple[str, str, str, str]]:
    found = []
    for architecture, short in _ARCHITECTURES.items():
        for release, word in (("22.04", "jammy"), ("24.04", "noble")):
            name = f"ubuntu/images/hvm-ssd-gp3/ubuntu-{word}-{release}-{short}-server-20261101"
            found.append((name, architecture, _CANONICAL, "/dev/sda1"))
        found += [(f"debian-{n}-{short}-20261101-0001", architecture, _DEBIAN, "/dev/xvda") for n in ("12", "13")]
        found.append((f"{BAKED_PREFIX}{short}", architecture, _SELF, "/dev/xvda"))
    return found


def images() -> list[dict[str, Any]]:
    """Records as moto loads them."""
    return [
        {
            "ami_id": image_id(name), "name": name, "description": name, "architecture": architecture,
            "owner_id": owner, "root_device_name": device, "root_device_type": "ebs", "public": owner != _SELF,
            "state": "available", "virtualization_type": "hvm", "hypervisor": "xen", "image_type": "machine",
            "sriov": "simple", "creation_date": "2026-11-01T00:00:00.000Z",
        }
        for name, architecture, owner, device in _names()
    ]  # fmt: skip


def baked() -> frozenset[str]:
    """The ids of the images that have the package in /opt/acceleratorapi."""
    return frozenset(image_id(name) for name, *_ in _names() if name.startswith(BAKED_PREFIX))


def parameters() -> dict[str, str]:
    """Public parameters that name images: Canonical's and Debian's (Amazon's own are moto's)."""
    found = {}
    for name, architecture, owner, _ in _names():
        short = _ARCHITECTURES[architecture]
        if owner == _CANONICAL:
            release = name.rpartition("/")[2].split("-")[2]
            for kind in ("ebs-gp2", "ebs-gp3"):
                found[f"/aws/service/canonical/ubuntu/server/{release}/stable/current/{short}/hvm/{kind}/ami-id"] = (
                    image_id(name)
                )
        elif owner == _DEBIAN:
            found[f"/aws/service/debian/release/{name.split('-')[1]}/latest/{short}"] = image_id(name)
    return found


def price_usd(instance_type: str, vcpus: int) -> float:
    """A price per hour: so much a vCPU, F instances four times as much."""
    return round(vcpus * 0.0425 * (2 if instance_type.startswith("f") else 1), 4)
