"""What the node's URLs may reach: hostile ones are refused, and no packet goes to an address that was not allowed."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Any

import pytest
from remote_servers import _certificate, web  # noqa: F401

from acceleratorAPI.errors import AcceleratorError, ConfigurationError, FileAccessError, PermissionDeniedError
from acceleratorAPI.node import ssrf
from acceleratorAPI.remote import access, names
from acceleratorAPI.remote import web as transport

PUBLIC = "93.184.215.14"
PUBLIC_6 = "2606:2800:21f:cb07::1"

# What a hostile resolver answers.
RECORDS = {
    "public.test": [PUBLIC],
    "both.test": [PUBLIC_6, PUBLIC],
    "mixed.test": [PUBLIC, "127.0.0.1"],
    "mixed6.test": [PUBLIC, "::1"],
    "private.test": ["10.1.2.3"],
    "loopback.test": ["127.0.0.1"],
    "link.test": ["169.254.169.254"],
    "cgnat.test": ["100.64.0.1"],
    "alibaba.test": ["100.100.100.200"],
    "multicast.test": ["224.0.0.1"],
    "broadcast.test": ["255.255.255.255"],
    "reserved.test": ["240.0.0.1"],
    "zero.test": ["0.0.0.0"],
    "docs.test": ["192.0.2.1"],
    "bench.test": ["198.18.0.1"],
    "azure.test": ["168.63.129.16"],
    "loopback2.test": ["127.0.0.2"],
    "mapped2.test": ["::ffff:127.0.0.2"],
    "v6loopback.test": ["::1"],
    "v6any.test": ["::"],
    "ula.test": ["fc00::1"],
    "aws6.test": ["fd00:ec2::254"],
    "linklocal6.test": ["fe80::1"],
    "scoped.test": ["fe80::1%lo"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "mapped-metadata.test": ["::ffff:169.254.169.254"],
    "compatible.test": ["::127.0.0.1"],
    "sixtofour.test": ["2002:7f00:1::1"],
    "sixtofour10.test": ["2002:a00:1::1"],
    "nat64.test": ["64:ff9b::7f00:1"],
    "nat64-metadata.test": ["64:ff9b::a9fe:a9fe"],
    "nat64-local.test": ["64:ff9b:1::808:808"],
    "teredo.test": ["2001:0:7f00:1::1"],
    "docs6.test": ["2001:db8::1"],
    "multicast6.test": ["ff02::1"],
    "sitelocal.test": ["fec0::1"],
    "nonsense.test": ["not an address"],
    "localhost": ["127.0.0.1", "::1"],
    "none.test": [],
}
BY_NAME = [
    f"https://{name}/latest/meta-data?x=1" for name in RECORDS if name not in ("public.test", "both.test", "none.test")
]
BY_SPELLING = [
    "https://127.0.0.1/",
    "https://127.1/",
    "https://127.0.0.1./",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.0.0.0x1/",
    "https://0/",
    "https://0.0.0.0/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://0251.0376.0251.0376/",
    "https://169.254.43518/",
    "https://[::]/",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1%25eth0]/",
    "https://metadata.google.internal/computeMetadata/v1/",
    "https://METADATA.google.internal/",
    "https://metadata.google.internal./",
    "https://x.metadata.google.internal/",
    "https://metadata/",
    "https://instance-data/",
    "https://public.test@127.0.0.1/",
    "https://127.0.0.1@public.test/",
    "https://public.test:443@127.0.0.1/",
    "https://public.test#@127.0.0.1/",
    "https://public.test\\@127.0.0.1/",
    "https://127.0.0.1\\.public.test/",
    "https://127.0.0.1%00.public.test/",
    "https://127.0.0.1%2f.public.test/",
    "https://1%32%37.0.0.1/",
    "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",
    "https://127\u30020\u30020\u30021/",
    "https://\u24dbocalhost/",
    "https://public.test\r\nHost: 127.0.0.1/",
    "https://public.test:22/",
    "https://public.test:6379/",
    "https://public.test:80/",
    "https://public.test:8443/",
    "https://public.test:0443443/",
    "https://public..test/",
    "https://-public.test/",
    "https://public_.test/",
    "https://public.test./",
    "https:///127.0.0.1/",
    "https:127.0.0.1/",
    "http://public.test/",
    "http://127.0.0.1/",
    "ftp://127.0.0.1/",
    "gopher://127.0.0.1:6379/_x",
    "file:///etc/passwd",
    "dict://127.0.0.1:11211/",
    "s3://127.0.0.1:9000@bucket/key",
    "s3://../../127.0.0.1/key",
    "s3::https://127.0.0.1/",
    "simplecache::https://127.0.0.1/",
]


class Network:
    """Stands for resolver and sockets of this process: nothing leaves it, everything is recorded."""

    def __init__(self, let_through: set[tuple[str, int]]) -> None:
        self.resolved: list[str] = []
        self.connected: list[tuple[str, int]] = []
        self.records = dict(RECORDS)
        self.let_through = let_through
        self._real_getaddrinfo = socket.getaddrinfo

    def getaddrinfo(self, host: str, port: int, *_: Any, **options: Any) -> list[Any]:
        self.resolved.append(host)
        if host not in self.records:
            # What the C library makes of it, octal and hexadecimal numbers included; never asks anybody.
            return self._real_getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        if not self.records[host]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in place else socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port))
            for place in self.records[host]
        ]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    found = Network(set())

    class Recorded(socket.socket):
        def connect(self, address: Any) -> None:
            found.connected.append((str(address[0]), int(address[1])))
            if (str(address[0]), int(address[1])) not in found.let_through:
                raise ConnectionRefusedError(111, "Connection refused")
            super().connect(address)

        def connect_ex(self, address: Any) -> int:
            raise AssertionError(f"connect_ex to {address}")

        def sendto(self, *arguments: Any) -> int:  # type: ignore[override]
            raise AssertionError(f"sendto {arguments}")

    monkeypatch.setattr(socket, "getaddrinfo", found.getaddrinfo)
    monkeypatch.setattr(socket, "socket", Recorded)
    monkeypatch.setattr(transport, "_jitter", lambda _: 0)
    return found


def fetch(url: str, policy: ssrf.UrlPolicy) -> bytes:
    """As the node does it."""
    with contextlib.closing(access.open_source(policy.admit(url), policy)) as reader:
        return reader.read(1 << 20)


EVERYTHING = ssrf.policy(["https", "s3", "gs"], [], [])


def test_there_are_enough_of_them() -> None:
    assert len(set(BY_NAME + BY_SPELLING)) > 100


@pytest.mark.parametrize("url", BY_NAME + BY_SPELLING)
def test_hostile_urls_are_refused_without_a_packet(network: Network, url: str) -> None:
    with pytest.raises(AcceleratorError) as caught:
        fetch(url, EVERYTHING)
    assert isinstance(caught.value, PermissionDeniedError) or caught.value.code == "input", caught.value
    assert network.connected == []
    assert "x=1" not in str(caught.value)
    # Which address an internal name has is not told.
    for place in RECORDS.get(names.shown(url).split("/")[2], []) if "test" in url else []:
        assert place not in str(caught.value)


def test_a_public_host_is_reached_at_the_address_that_was_checked(network: Network) -> None:
    with pytest.raises(FileAccessError, match="Connection refused"):
        fetch("https://both.test/", EVERYTHING)
    assert network.connected == [(PUBLIC_6, 443), (PUBLIC, 443)] * transport.TRIES


def test_a_resolver_that_changes_its_mind_is_asked_once_a_connection(network: Network) -> None:
    """DNS rebinding: public when it is checked, private when it would be used."""
    answers = iter([[PUBLIC], ["127.0.0.1"], [PUBLIC]])
    real = network.getaddrinfo

    def rebind(host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
        network.records["rebind.test"] = next(answers)
        return real(host, port, *rest, **options)

    socket.getaddrinfo = rebind  # the fixture's end puts it back
    with pytest.raises(PermissionDeniedError):
        fetch("https://rebind.test/", EVERYTHING)
    assert network.connected == [(PUBLIC, 443)]
    assert network.resolved == ["rebind.test"] * 2


def test_a_name_that_leads_nowhere_fails_closed(network: Network) -> None:
    with pytest.raises(FileAccessError, match="leads nowhere"):
        fetch("https://none.test/", EVERYTHING)
    assert network.connected == []


def test_an_upload_is_guarded_as_well(network: Network) -> None:
    from io import BytesIO

    for url in BY_NAME:
        parsed = names.parse(url)
        assert isinstance(parsed, names.WebUrl)
        with pytest.raises(PermissionDeniedError):
            transport.put(parsed, BytesIO(b"x"), 1, EVERYTHING)
    assert network.connected == []


REDIRECTS = [
    "https://127.0.0.2:{port}/secret",
    "https://[::1]:{port}/secret",
    "https://169.254.169.254/latest/meta-data/",
    "//169.254.169.254/latest/meta-data/",
    "https://metadata.google.internal/",
    "https://loopback2.test/",
    "https://mapped2.test/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://127.0.0.1:22/",
    "http://localhost:{port}/ok",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_x",
    "https://public.test@127.0.0.1:{port}/ok",
    "s3://bucket/key",
    "/again",
]


@pytest.mark.parametrize("location", REDIRECTS)
def test_redirects_to_what_is_not_allowed_are_refused(network: Network, web: Any, location: str) -> None:  # noqa: F811
    network.let_through.add(("127.0.0.1", web.port))
    network.records["localhost"] = ["127.0.0.1"]
    hosts = (
        "localhost",
        "127.0.0.2",
        "[::1]",
        "169.254.169.254",
        "*.google.internal",
        "*.test",
        "2130706433",
        "0x7f.1",
    )
    origins = [f"https://{host}:{port}" for host in hosts for port in (443, web.port)]
    policy = ssrf.policy(["https", "s3"], origins, ["127.0.0.1/32"])
    web.page("/ok", b"fine")
    web.page("/again", location=location.format(port=web.port))
    assert fetch(f"{web.origin}/ok", policy) == b"fine"
    before = len(network.connected)
    with pytest.raises((PermissionDeniedError, FileAccessError)):
        fetch(f"{web.origin}/again", policy)
    assert set(network.connected) == {("127.0.0.1", web.port)}
    assert len(network.connected) == before + (1 if location != "/again" else transport.REDIRECTS + 1)


def test_options_open_what_they_say_and_no_metadata(network: Network) -> None:
    policy = ssrf.policy(["https"], [], ["10.1.2.0/24", "127.0.0.0/8", "0.0.0.0/0", "::/0"])
    for url in "https://private.test/", "https://loopback.test/", "https://[::1]/", "https://ula.test/":
        with pytest.raises(FileAccessError, match="refused"):
            fetch(url, policy)
    network.connected.clear()
    for name in "link", "alibaba", "azure", "aws6", "mapped-metadata", "nat64-metadata":
        with pytest.raises(PermissionDeniedError):
            fetch(f"https://{name}.test/", policy)
    for url in "https://169.254.169.254/", "https://metadata.google.internal/", "https://169.254.170.2/":
        with pytest.raises(PermissionDeniedError):
            fetch(url, policy)
    assert network.connected == []


def test_a_list_of_origins() -> None:
    policy = ssrf.policy(
        ["https", "s3"], ["https://a.org", "https://*.b.org:8443", "https://[2606::1]/", "s3://data"], []
    )
    for url in "https://a.org/x", "https://A.ORG:443/y?z", "https://x.b.org:8443/", "https://[2606::1]/", "s3://data/a":
        policy.admit(url)
    for url in (
        "https://a.org:8443/",
        "https://x.a.org/",
        "https://b.org:8443/",
        "https://x.b.org/",
        "https://xb.org:8443/",
        "https://a.org.evil.org/",
        "s3://data2/a",
        "s3://other/data/a",
        "gs://data/a",
    ):
        with pytest.raises(PermissionDeniedError):
            policy.admit(url)


@pytest.mark.parametrize(
    ("schemes", "origins", "networks"),
    [
        (["http"], [], []),
        (["file"], [], []),
        ([""], [], []),
        ([], ["https://a.org"], []),
        ([], [], ["10.0.0.0/8"]),
        (["https"], ["a.org"], []),
        (["https"], ["https://a.org/path"], []),
        (["https"], ["https://*"], []),
        (["https"], ["http://a.org"], []),
        (["https"], [], ["10.0.0.1/8"]),
        (["https"], [], ["localhost"]),
    ],
)
def test_wrong_options(schemes: list[str], origins: list[str], networks: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="--urls"):
        ssrf.policy(schemes, origins, networks)


def test_a_node_opens_nothing_by_default() -> None:
    for url in "https://example.org/", "s3://bucket/key", "gs://bucket/key":
        with pytest.raises(PermissionDeniedError, match="--urls"):
            ssrf.policy([], [], []).admit(url)


def test_addresses_against_the_standard_library() -> None:
    """Nothing that the standard library calls special is reached: the edges of every /12 and of each closed network."""
    edges = [ipaddress.ip_address(value << 20 | low) for value in range(1 << 12) for low in (0, 0xFFFFF)]
    edges += [end for network in ssrf._CLOSED_4 for end in (network[0], network[-1])]
    for address in edges:
        assert isinstance(address, ipaddress.IPv4Address)
        special = not address.is_global or address.is_multicast or address.is_reserved
        if EVERYTHING.reaches(address):
            assert not special, address
        elif not special:
            assert address in ipaddress.ip_network("192.88.99.0/24") or address in ipaddress.ip_network("192.0.0.0/24")
        for inside in (f"::ffff:{address}", f"64:ff9b::{address}"):
            assert EVERYTHING.reaches(ipaddress.ip_address(inside)) == EVERYTHING.reaches(address)
