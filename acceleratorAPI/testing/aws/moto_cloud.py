"""moto as this cloud uses it: taught addresses of the loopback, images, and instances that take their time.

Import nothing of moto before ``prepare``: it reads its settings when it is imported.
"""

from __future__ import annotations

import copy
import fnmatch
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from acceleratorAPI.testing.aws import images

if TYPE_CHECKING:
    from acceleratorAPI.testing.aws.fleet import Fleet

_SETTINGS = {
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
    "MOTO_ENABLE_KEYPAIR_VALIDATION": "true",
    "MOTO_ENABLE_AMI_VALIDATION": "true",
}


def prepare() -> Callable[[dict[str, Any], Callable[..., Any]], Any]:
    """Import moto with every check on; its WSGI application."""
    os.environ.update(_SETTINGS)
    import moto.ec2.utils

    # moto's own public addresses are machines on the Internet. Nothing may import the name before it is replaced.
    moto.ec2.utils.random_public_ip = lambda: "127.0.0.2"
    import moto.ec2.models.amis
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    moto.ec2.models.amis.AMIS[:] = images.images()
    application: Any = DomainDispatcherApplication(create_backend_app)
    return application  # type: ignore[no-any-return]


def teach(fleet: Fleet) -> None:
    """Have moto's instances keep a machine in ``fleet``, and refuse what their state does not allow."""
    import moto.ec2.models.elastic_network_interfaces
    from moto.ec2.exceptions import EC2ClientError
    from moto.ec2.models.instances import Instance

    setattr(moto.ec2.models.elastic_network_interfaces, "random_public_ip", fleet.new_public_ip)  # noqa: B010
    plain = {name: getattr(Instance, name) for name in ("__init__", "start", "stop", "terminate", "reboot")}

    def refuse(instance: Any, verb: str) -> None:
        text = f"The instance '{instance.id}' is not in a state from which it can be {verb}."
        raise EC2ClientError("IncorrectInstanceState", text)

    def made(self: Any, *arguments: Any, **keywords: Any) -> None:
        plain["__init__"](self, *arguments, **keywords)
        fleet.launch(self)

    def started(self: Any) -> Any:
        if self.state in ("pending", "running"):
            return copy.copy(self._state)
        if self.state != "stopped":
            refuse(self, "started")
        previous = plain["start"](self)
        fleet.boot(self)
        return previous

    def stopped(self: Any) -> Any:
        if self.state in ("stopping", "stopped"):
            return copy.copy(self._state)
        if self.state not in ("pending", "running"):
            refuse(self, "stopped")
        if self.lifecycle == "spot":
            raise EC2ClientError(
                "UnsupportedOperation", f"You can't stop the Spot Instance '{self.id}' because it is one-time."
            )
        previous = plain["stop"](self)
        fleet.end(self, "stopped")
        return previous

    def terminated(self: Any) -> Any:
        if self.state in ("shutting-down", "terminated"):
            return copy.copy(self._state)
        previous = plain["terminate"](self)
        fleet.end(self, "terminated")
        return previous

    def rebooted(self: Any) -> None:
        if self.state != "running":
            refuse(self, "rebooted")
        fleet.reboot(self)

    for name, replacement in (
        ("__init__", made), ("start", started), ("stop", stopped), ("terminate", terminated), ("reboot", rebooted)
    ):  # fmt: skip
        setattr(Instance, name, replacement)
    _teach_status(fleet, Instance)


def _teach_status(fleet: Fleet, instance_class: Any) -> None:
    """An instance without a living first process fails its checks; offerings take ``f2.*``."""
    from moto.ec2.models.instance_types import InstanceTypeOfferingBackend

    plain = instance_class.instance_status.fget
    matches = InstanceTypeOfferingBackend.matches_filters

    def status(self: Any) -> Any:
        if self.state == "running" and fleet.kept[self.id].impaired:
            return {"Status": "impaired", "Details": [{"Name": "reachability", "Status": "failed"}]}
        return plain(self)

    def matches_patterns(self: Any, offering: dict[str, Any], filters: Any, location_type: str) -> Any:
        plain_filters = {}
        for name, values in (filters or {}).items():
            patterns = values if isinstance(values, list) else [values]
            if name != "instance-type":
                plain_filters[name] = values
            elif not any(fnmatch.fnmatchcase(offering["InstanceType"], pattern) for pattern in patterns):
                return False
        return matches(self, offering, plain_filters, location_type)

    instance_class.instance_status = property(status)
    setattr(InstanceTypeOfferingBackend, "matches_filters", matches_patterns)  # noqa: B010


def backends() -> Iterator[Any]:
    """The EC2 of every account and region that was used."""
    from moto.ec2.models import ec2_backends

    for account in list(ec2_backends.values()):
        yield from list(account.values())


def backend(region: str, account: str = "123456789012") -> Any:
    """The EC2 of a region."""
    from moto.ec2.models import ec2_backends

    return ec2_backends[account][region]


def instances() -> Iterator[Any]:
    """Every record of an instance."""
    for found in backends():
        yield from found.all_instances()


def vcpus(instance_type: str) -> int:
    """The vCPUs of a type; 0 when there is no such type."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    record = INSTANCE_TYPES.get(instance_type)
    return int(record["VCpuInfo"]["DefaultVCpus"]) if record else 0


def offered(region: str, zone: str, instance_type: str) -> bool:
    """Whether the zone has the type."""
    from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS

    offerings = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, [])
    return any(entry["Location"] == zone and entry["InstanceType"] == instance_type for entry in offerings)


def reset() -> None:
    """Forget everything."""
    from moto.core.base_backend import BackendDict
    from moto.core.common_models import BaseModel  # noqa: F401 - loads what a reset needs
    from moto.core.model_instances import reset_model_data

    BackendDict.reset()
    reset_model_data()
