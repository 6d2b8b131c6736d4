"""The calls to AWS: one client for each service and region, credentials, and how often what is tried."""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import ConfigurationError

DEFAULT_REGION = "us-east-1"
# What a person follows while an instance is made.
progress = logging.getLogger("acceleratorAPI.progress")

_CONNECT_S, _READ_S = 10, 60
_TRIES = 5


class Steps:
    """Says what is being done, each line with the seconds since the first."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def say(self, message: str, *values: object) -> None:
        """One line for the person."""
        progress.info("%6.1f s  %s", time.monotonic() - self._began, message % values if values else message)


class Cloud:
    """One account, as the configuration or the environment names it.

    Attributes:
        region: where instances are made unless told otherwise.
    """

    def __init__(self, configuration: Configuration) -> None:
        """Take the credentials; nothing is contacted yet.

        Raises:
            ConfigurationError: they cannot be used.
        """
        get = configuration.get
        key, secret = get("csp", "client_id"), get("csp", "secret_id")
        if bool(key) != bool(secret):
            raise ConfigurationError("[csp] client_id and secret_id go together: give both, or none")
        try:
            self._session = boto3.session.Session(key or None, secret or None, region_name=get("csp", "region") or None)
        except BotoCoreError as error:
            raise ConfigurationError(f"AWS: {error}") from error
        self.region: str = self._session.region_name or DEFAULT_REGION
        self._proxy: str | None = _checked(get("csp", "proxy"))
        self._clients: dict[tuple[str, str, bool], Any] = {}
        self._turn = threading.Lock()

    def client(self, service: str, region: str | None = None, *, once: bool = False) -> Any:
        """The client of a service.

        Args:
            service: as boto3 names it.
            region: another than the cloud's.
            once: no call is tried again by itself: for the one call that makes something each time.
        """
        key = (service, region or self.region, once)
        with self._turn:  # boto3's sessions are not for several threads at once; its clients are.
            if key not in self._clients:
                config = Config(
                    connect_timeout=_CONNECT_S,
                    read_timeout=_READ_S,
                    retries={"mode": "standard", "total_max_attempts": 1 if once else _TRIES},
                    proxies={"http": self._proxy, "https": self._proxy} if self._proxy else None,
                    max_pool_connections=4,
                )
                try:
                    self._clients[key] = self._session.client(service, region_name=key[1], config=config)
                except (BotoCoreError, ValueError) as error:
                    raise ConfigurationError(f"AWS: {error}") from error
            return self._clients[key]

    def ec2(self, region: str | None = None) -> Any:
        """EC2, whose calls are tried again as far as that is harmless."""
        return self.client("ec2", region)

    def is_on_loopback(self) -> bool:
        """Whether the cloud is an emulated one of this machine, which sees this machine as it sees itself."""
        host = urlsplit(self.ec2().meta.endpoint_url).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def close(self) -> None:
        """Close the connections."""
        with self._turn:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


def _checked(proxy: str | None) -> str | None:
    """The URL of a proxy.

    Raises:
        ConfigurationError: it is none; it is not repeated, as it may hold a password.
    """
    try:
        parts = urlsplit(proxy or "http://none")
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        wrong = True
    if wrong:
        raise ConfigurationError("[csp] proxy: use a URL like http://proxy.example.org:3128")
    return proxy
