"""Which URLs a node opens for its clients, and the addresses it may reach for them (SSRF guard).

A name is resolved once, all its addresses must be public, and the connection goes to one that was checked. Redirects
go through the same. Everything that is not understood is refused. Networks: the special-purpose registries of IANA
(https://www.iana.org/assignments/iana-ipv4-special-registry, iana-ipv6-special-registry), RFC 6052, RFC 3056.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from acceleratorAPI.errors import AcceleratorError, ConfigurationError, PermissionDeniedError
from acceleratorAPI.remote import access
from acceleratorAPI.remote.names import ObjectUrl, Remote, WebUrl, parse, shown
from acceleratorAPI.remote.web import CONNECT_S

SCHEMES = ("https", "s3", "gs")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, text.split()))


_CLOSED_4 = _networks(
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24"
    " 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"
)
_OPEN_6 = IPv6Network("2000::/3")
_CLOSED_6 = _networks("2001::/23 2001:db8::/32 3fff::/20")
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_6TO4 = IPv6Network("2002::/16")
# Where clouds hand out the machine's own credentials. No option opens these.
_METADATA = _networks(
    "169.254.0.0/16 100.100.100.200/32 168.63.129.16/32 192.0.0.192/32 fd00:ec2::/64 fd20:ce::254/128"
)
_METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
_METADATA_SUFFIXES = (".metadata.google.internal", ".metadata.goog")

_LABEL = r"[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# A last label that is a number makes systems take the whole for an address: 2130706433, 0x7f.1, 0177.0.0.1, 127.1.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ORIGIN = re.compile(r"(https)://((?:\*\.)?[A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?/?")
_BUCKET = re.compile(r"(s3|gs)://([A-Za-z0-9._\-]+)/?()")


@dataclass(frozen=True, slots=True)
class Origin:
    """A part of the network that requests may name: a host (``*.`` for all below it) and port, or a bucket."""

    scheme: str
    name: str
    port: int | None = None

    def holds(self, url: Remote) -> bool:
        """Whether ``url`` lies in it."""
        if isinstance(url, ObjectUrl):
            return (url.scheme, url.bucket) == (self.scheme, self.name)
        if (url.scheme, url.port) != (self.scheme, self.port):
            return False
        return url.host.endswith(self.name[1:]) if self.name.startswith("*.") else url.host == self.name


@dataclass(frozen=True, slots=True)
class UrlPolicy:
    """The node's options ``--urls``, ``--urls-under`` and ``--urls-allow-address``; a route of ``remote.web``.

    Attributes:
        schemes: that may be opened at all.
        origins: where URLs must lie; empty for anywhere, on the scheme's own port.
        networks: that may be reached although they are not public.
    """

    schemes: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = ()
    networks: tuple[Network, ...] = ()

    def admit(self, text: str) -> Remote:
        """What a request's URL names, as far as can be said without the network.

        Raises:
            InputError: it is malformed, or a package is missing.
            PermissionDeniedError: this node does not open it.
        """
        url = parse(text)
        self.check(url)
        access.check(url)
        return url

    def check(self, url: Remote) -> None:
        """See that the options allow ``url``, a redirect's included.

        Raises:
            PermissionDeniedError: they do not.
        """
        name = shown(str(url))
        if url.scheme not in self.schemes:
            raise PermissionDeniedError(
                f"{name!r}: this node opens no {url.scheme} URLs; start it with --urls {url.scheme}"
            )
        if self.origins and not any(origin.holds(url) for origin in self.origins):
            raise PermissionDeniedError(f"{name!r}: this node opens no URLs there; start it with --urls-under ORIGIN")
        if isinstance(url, ObjectUrl):
            return
        if not self.origins and url.port != 443:
            raise PermissionDeniedError(
                f"{name!r}: this node asks on port 443 only; start it with --urls-under {url.origin}"
            )
        _check_name(url.host, name)

    def connect(self, url: WebUrl) -> socket.socket:
        """A connection to a checked address of the host.

        Raises:
            PermissionDeniedError: one of its addresses is not public.
            OSError: the name leads nowhere, or nobody answers.
        """
        self.check(url)
        failure: OSError | None = None
        for family, place in self.resolve(url):
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(CONNECT_S)
                connection.connect(place)
            except OSError as error:
                connection.close()
                failure = error
            else:
                return connection
        raise failure or OSError("the name of the host leads nowhere")

    def resolve(self, url: WebUrl) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
        """The host's addresses, every one checked. One that may not be reached spoils them all.

        Raises:
            PermissionDeniedError: as said.
            OSError: there are none.
        """
        found: list[tuple[socket.AddressFamily, tuple[str, int]]] = []
        for family, _, _, _, place in socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM):
            try:
                address = ipaddress.ip_address(place[0])
            except ValueError:
                raise PermissionDeniedError(_refused(url)) from None
            if not self.reaches(address):
                raise PermissionDeniedError(_refused(url))
            found.append((family, (str(address), url.port)))
        return found

    def reaches(self, address: Address) -> bool:
        """Whether the node may connect to ``address``."""
        if isinstance(address, IPv6Address):
            if address.scope_id is not None or _in(address, _METADATA):
                return False
            inner = _embedded(address)
            if inner is None:
                return _in(address, self.networks) or (address in _OPEN_6 and not _in(address, _CLOSED_6))
            address = inner
        if _in(address, _METADATA):
            return False
        return _in(address, self.networks) or not _in(address, _CLOSED_4)


def policy(schemes: Sequence[str], origins: Sequence[str], networks: Sequence[str]) -> UrlPolicy:
    """The policy that the options' texts ask for.

    Raises:
        ConfigurationError: one is malformed, or a package is missing.
    """
    for scheme in schemes:
        if scheme not in SCHEMES:
            raise ConfigurationError(f"--urls {scheme!r}: use some of {', '.join(SCHEMES)}")
        try:
            if scheme != "https":
                access.check(ObjectUrl(scheme, "any", "any"))
        except AcceleratorError as error:
            raise ConfigurationError(f"--urls {scheme}: {error}") from error
    if not schemes and (origins or networks):
        raise ConfigurationError("--urls-under and --urls-allow-address need --urls, such as --urls https")
    found = []
    for text in networks:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ConfigurationError(f"--urls-allow-address {text!r}: {error}; use 10.1.2.0/24, say") from error
    return UrlPolicy(tuple(schemes), tuple(map(_origin, origins)), tuple(found))


def _origin(text: str) -> Origin:
    match = _ORIGIN.fullmatch(text) or _BUCKET.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"--urls-under {text!r}: use https://host[:port], https://*.domain or s3://bucket")
    scheme, name, port = match.groups()
    if scheme == "https":
        return Origin(scheme, name.strip("[]").lower(), int(port or 443))
    return Origin(scheme, name)


def _check_name(host: str, name: str) -> None:
    """Take addresses in their one canonical form, and names that can be nothing else."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is not None:
        if str(address) != host:
            raise PermissionDeniedError(f"{name!r}: write the address as {str(address)!r}")
        return
    if _NAME.fullmatch(host) is None or len(host) > 253 or _NUMBER.fullmatch(host.rpartition(".")[2]):
        raise PermissionDeniedError(f"{name!r}: the host is no plain name or address, such as data.example.org")
    if host in _METADATA_NAMES or host.endswith(_METADATA_SUFFIXES):
        raise PermissionDeniedError(f"{name!r}: this node asks no metadata service")


def _refused(url: WebUrl) -> str:
    # Without the address: what an internal name stands for is nobody's business.
    return (
        f"{shown(str(url))!r}: the host is at an address that is not public, which this node does not reach;"
        " its operator can allow it with --urls-allow-address"
    )


def _in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that traffic to ``address`` ends at."""
    number = int(address)
    if address in _MAPPED or address in _NAT64:
        return IPv4Address(number & 0xFFFFFFFF)
    return IPv4Address((number >> 80) & 0xFFFFFFFF) if address in _6TO4 else None
