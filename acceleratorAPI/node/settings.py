"""What a node is started with, checked. No argument parsing and no I/O beyond looking at the folders named."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from platformdirs import user_state_dir

from acceleratorAPI.errors import ConfigurationError
from acceleratorAPI.node.limits import DEFAULTS, Limits
from acceleratorAPI.node.sandbox import Mode


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_state() -> Path:
    """The state folder of a node that is given none."""
    return Path(user_state_dir("acceleratorapi")) / "node"


def is_loopback(host: str) -> bool:
    """Whether ``host`` (a name or an address) can only be reached from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of ``python -m acceleratorAPI.node``.

    Attributes:
        host: address to listen on.
        port: TCP port, 0 for a free one.
        state: the folder of the node's token, database and spool; ``None`` for the user's default.
        accelerator: the function of requests that name none.
        auth: ``token`` (HTTP Bearer or Basic) or ``none``, the latter on loopback only.
        token_file: where the token is read from, instead of the state folder.
        owner: a process id; when that process is gone, the node ends.
        at_end: whether the state folder goes (``terminate``) or stays (``stop``) when the owner is gone.
        lease_file: where a lease in seconds is written, for what ends this machine.
        notice_file: appears when this machine is about to be taken away, and says why in a line.
        files_under: folders whose files a request may have read and written in place.
        urls: schemes of URLs that the node itself opens for requests; none by default.
        urls_under: origins and buckets in which these must lie; empty for anywhere.
        urls_allow_address: networks they may lead to although they are not public.
        slots: how many jobs run at the same time.
        threads: how many cores one job may use.
        queue: how many jobs may wait.
        client_jobs: how many jobs of one token may wait or run; ``None``: as many as there is place for.
        client_uploads: how many incomplete uploads one token may have.
        client_bytes: how many bytes of one token may lie in the spool.
        max_output: how many bytes the output of one job may have, ``None`` for no limit.
        store: URL of the store that checks access keys and counts what they use; ``None`` for none.
        unsent: folder for the records of a node that is removed before the store has all of them; what is there is
            sent. ``None``: such records stay in the state folder.
        public_url: how clients reach the node, for the URLs in its answers.
        log_format: of the log on standard error; ``None``: text on a terminal, JSON elsewhere.
        access_log: also log every request.
        tls_cert: PEM file of the certificate it speaks TLS with.
        tls_key: PEM file of that certificate's key.
        tls_client_ca: PEM file of who vouches for the clients' certificates, which they must then show.
        insecure: plain HTTP on a network is meant.
        legacy_profiling: also fill the FPGA-named profiling fields (with CPU figures).
        sandbox: whether workers give up network and files: where they can, not at all, or all of it or no start.
        sandbox_allow: files and folders (models, devices) a function may use besides.
        worker_memory: bytes of address space a worker may have; ``None`` for no limit.
        limits: deadlines and sizes of requests and connections.
        drain_s: how long running jobs may go on after SIGTERM, before they are put back for the next start.
        keep_results_s: how long the result and record of an ended job stay.
        upload_lifetime_s: how long an upload stays that nothing is added to.

    Raises:
        ConfigurationError: a value is not usable.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    state: Path | None = None
    accelerator: str | None = None
    auth: Literal["token", "none"] = "token"
    token_file: Path | None = None
    owner: int | None = None
    at_end: Literal["terminate", "stop"] = "terminate"
    lease_file: Path | None = None
    notice_file: Path | None = None
    files_under: tuple[Path, ...] = ()
    urls: tuple[str, ...] = ()
    urls_under: tuple[str, ...] = ()
    urls_allow_address: tuple[str, ...] = ()
    slots: int = 0
    threads: int = 0
    queue: int = 64
    client_jobs: int | None = None
    client_uploads: int | None = None
    client_bytes: int | None = None
    max_output: int | None = None
    store: str | None = None
    unsent: Path | None = None
    public_url: str | None = None
    log_format: Literal["json", "text"] | None = None
    access_log: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    insecure: bool = False
    legacy_profiling: bool = False
    sandbox: Mode = "auto"
    sandbox_allow: tuple[Path, ...] = ()
    worker_memory: int | None = None
    limits: Limits = DEFAULTS
    drain_s: float = 30.0
    keep_results_s: float = 7 * 86400.0
    upload_lifetime_s: float = 86400.0

    def __post_init__(self) -> None:
        # Zero means "as many as fit this machine", decided here once.
        object.__setattr__(self, "slots", self.slots or min(4, cores()))
        object.__setattr__(self, "threads", self.threads or cores())
        object.__setattr__(self, "state", Path(os.path.abspath(self.state or default_state())))
        least = {"port": 0, "slots": 1, "threads": 1, "queue": 0}
        for name, lowest in {**least, "drain_s": 0, "keep_results_s": 0, "upload_lifetime_s": 0}.items():
            if not getattr(self, name) >= lowest:
                option = name.removesuffix("_s").replace("_", "-")
                raise ConfigurationError(f"--{option} {getattr(self, name)}: use {lowest} or more")
        for name in ("max_output", "client_jobs", "client_uploads", "client_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                option = name.replace("_", "-")
                raise ConfigurationError(f"--{option} {value}: use 1 or more, or leave it out for no limit")
        if self.port > 65535:
            raise ConfigurationError(f"--port {self.port}: use 0 (a free one) to 65535")
        if self.auth == "none" and not is_loopback(self.host):
            raise ConfigurationError(
                f"--auth none with --host {self.host}: anybody on the network could use the node;"
                " use --auth token, or --host 127.0.0.1"
            )
        self._check_public_url()
        self._check_tls()
        self._check_roots()

    def _check_public_url(self) -> None:
        if self.public_url is None:
            return
        parts = urlsplit(self.public_url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise ConfigurationError(f"--public-url {self.public_url!r}: use http(s)://name[:port][/path]")
        object.__setattr__(self, "public_url", self.public_url.rstrip("/"))

    def _check_tls(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigurationError("--tls-cert and --tls-key go together: name both, or none")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ConfigurationError("--tls-client-ca needs --tls-cert and --tls-key")
        behind_proxy = (self.public_url or "").startswith("https://")
        if not (is_loopback(self.host) or self.tls_cert or behind_proxy or self.insecure):
            raise ConfigurationError(
                f"--host {self.host} without TLS: anybody on the way could read token and files; use --tls-cert and"
                " --tls-key, or --public-url https://... of a proxy that speaks TLS, or say --insecure"
            )

    def _check_roots(self) -> None:
        roots = []
        for root in self.files_under:
            if not root.is_dir():
                raise ConfigurationError(f"--files-under {str(root)!r}: no such folder")
            roots.append(Path(os.path.realpath(root)))
        object.__setattr__(self, "files_under", tuple(roots))

    @property
    def folder(self) -> Path:
        """The state folder, absolute."""
        assert self.state is not None
        return self.state
