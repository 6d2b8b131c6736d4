"""From which addresses this machine reaches the network, as others see them."""

from __future__ import annotations

import http.client
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor

from acceleratorAPI.errors import ConfigurationError, InstanceError
from acceleratorAPI.providers.aws.cloud import Cloud

# Several, of different owners: one may be down, and behind some networks they see different addresses.
SERVICES = (
    "checkip.amazonaws.com/",
    "api.ipify.org/",
    "api6.ipify.org/",
    "icanhazip.com/",
)
_TIMEOUT_S = 4.0
_MOST = 4
_LONGEST_ANSWER = 64


def networks(cloud: Cloud, given: str | None) -> tuple[str, ...]:
    """The networks that a node shall let in: those given, else this machine's public addresses.

    Args:
        cloud: which sees this machine.
        given: addresses or networks, separated by commas or spaces.

    Raises:
        ConfigurationError: what is given is no network, or everything.
        InstanceError: nobody told this machine's address.
    """
    if given:
        return tuple(dict.fromkeys(_network(text) for text in given.replace(",", " ").split()))
    if cloud.is_on_loopback():
        return ("127.0.0.1/32",)
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        seen = [address for address in pool.map(_asked, SERVICES) if address is not None]
    if not seen:
        raise InstanceError(
            f"no service told this machine's public address ({', '.join(s.rstrip('/') for s in SERVICES)}):"
            " give it as [csp] allow_from"
        )
    return tuple(dict.fromkeys(_network(str(address)) for address in seen))[:_MOST]


def is_loopback(host: str) -> bool:
    """Whether a name or address leads to this machine itself; a name that leads nowhere does not."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(_is_own(ipaddress.ip_address(address.partition("%")[0])) for address in found)


def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ConfigurationError(
            f"[csp] allow_from: {text!r} is no address or network: use one like 203.0.113.7 or 203.0.113.0/24"
        ) from None
    if network.prefixlen == 0:
        raise ConfigurationError(f"[csp] allow_from: {text!r} is the whole internet: name who may reach the node")
    return str(network)


def _asked(service: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    host, _, path = service.partition("/")
    connection = http.client.HTTPSConnection(host, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        address = ipaddress.ip_address(answer.read(_LONGEST_ANSWER).decode("ascii").strip())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return address if address.is_global else None
