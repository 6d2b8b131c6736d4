"""The image an instance boots: given, the user's own with the package in it, or Amazon Linux."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from acceleratorAPI.errors import InstanceError
from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.providers.aws.troubles import trying

AMAZON_LINUX = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}"
# An own image of such a name is one that has the package: `acceleratorapi image` prints how to make it.
BAKED = "acceleratorapi-*"
_USERS = {"ubuntu": "ubuntu", "debian": "admin", "rocky": "rocky"}


@dataclass(frozen=True, slots=True)
class Image:
    """An image, pinned by its id.

    Attributes:
        disks: names of its disks, the root disk first.
        root_gb: size of its root disk.
    """

    id: str
    name: str
    disks: tuple[str, ...]
    root_gb: int

    @property
    def login(self) -> str:
        """The user that the key of ``ssh_key`` is for."""
        return next((user for word, user in _USERS.items() if word in self.name.lower()), "ec2-user")

    def mappings(self, volume_gb: int) -> list[dict[str, Any]]:
        """Every disk: gone with the instance, encrypted; the root disk of at least ``volume_gb`` GB."""
        rule = {"DeleteOnTermination": True, "VolumeType": "gp3", "Encrypted": True}
        root, *others = self.disks
        sized = rule | {"VolumeSize": max(volume_gb, self.root_gb)}
        return [{"DeviceName": root, "Ebs": sized}, *({"DeviceName": name, "Ebs": rule} for name in others)]


def find_image(cloud: Cloud, region: str, given: str | None, architecture: str) -> Image:
    """The image ``given`` by id, name or SSM parameter; without, the newest baked one, else Amazon Linux 2023.

    Raises:
        InstanceError: there is none.
    """
    ec2 = cloud.ec2(region)
    with trying(f"look for the image {given or 'of the instance'} in {region}"):
        if given and given.startswith("ami-"):
            found = ec2.describe_images(ImageIds=[given])["Images"]
        elif given and given.startswith("/"):
            found = _by_parameter(cloud, region, given)
        else:
            filters = {"name": given or BAKED, "architecture": architecture, "state": "available"}
            found = ec2.describe_images(Owners=["self"], Filters=_filters(filters))["Images"]
            if not found and given is None:
                found = _by_parameter(cloud, region, AMAZON_LINUX.format(architecture=architecture))
    if not found:
        raise InstanceError(
            f"[csp] image = {given!r}: {region} has no such image: use an id, one's own name or SSM path"
        )
    return _image(max(found, key=lambda image: (image.get("CreationDate", ""), image["ImageId"])))


def login_of(cloud: Cloud, region: str, image_id: str) -> str:
    """The user to log in as on an instance of that image."""
    with trying(f"look for the image {image_id}"):
        found = cloud.ec2(region).describe_images(ImageIds=[image_id])["Images"]
    return _image(found[0]).login if found else "ec2-user"


def _by_parameter(cloud: Cloud, region: str, name: str) -> list[dict[str, Any]]:
    image_id = cloud.client("ssm", region).get_parameter(Name=name)["Parameter"]["Value"]
    found: list[dict[str, Any]] = cloud.ec2(region).describe_images(ImageIds=[image_id])["Images"]
    return found


def _image(record: dict[str, Any]) -> Image:
    root = record.get("RootDeviceName") or "/dev/xvda"
    disks = {m["DeviceName"]: m["Ebs"] for m in record.get("BlockDeviceMappings", []) if "Ebs" in m}
    names = (root, *(name for name in disks if name != root))
    return Image(record["ImageId"], record.get("Name", ""), names, int(disks.get(root, {}).get("VolumeSize", 8)))


def _filters(values: dict[str, str]) -> list[dict[str, Any]]:
    return [{"Name": name, "Values": [value]} for name, value in values.items()]
