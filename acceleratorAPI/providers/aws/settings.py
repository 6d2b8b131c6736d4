"""Settings that are wrong by themselves: said before AWS is asked for anything."""

from __future__ import annotations

from urllib.parse import urlsplit

from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import ConfigurationError
from acceleratorAPI.providers.aws import address, tags
from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.providers.aws.machine import wanted_type

_YEAR_DAYS = 366
# What a node takes as a lease, AWS as a disk, and everybody as a port.
_MOST = {
    "keep_hours": _YEAR_DAYS * 24,
    "lease_minutes": _YEAR_DAYS * 24 * 60,
    "max_hours": _YEAR_DAYS * 24,
    "node_port": 65535,
    "volume_gb": 65536,
}


def check(configuration: Configuration, cloud: Cloud) -> None:
    """See that an instance can be made as the settings say, as far as they alone can tell.

    Raises:
        ConfigurationError: one is wrong.
        InstanceError: AWS has no such machine any more.
    """
    get = configuration.get
    for name, most in _MOST.items():
        if (get("csp", name) or 0) > most:
            raise ConfigurationError(f"[csp] {name} = {get('csp', name)}: use at most {most}")
    tags.of_user(get("csp", "tags"))
    wanted_type(get("csp", "instance_type"), get("csp", "fpga_image"))
    store = get("accelize", "url")
    if store and not cloud.is_on_loopback() and address.is_loopback(urlsplit(store).hostname or ""):
        raise ConfigurationError(
            f"[accelize] url = {store!r} leads to this machine from here, and from an instance on AWS to that"
            " instance: give an https:// URL that both reach"
        )
