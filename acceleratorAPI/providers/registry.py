"""Which providers there are: ours by name, others by entry point. Each is imported when it is used."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from types import MappingProxyType

from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import ProviderUnknownError, nearest
from acceleratorAPI.providers.base import Provider

GROUP = "acceleratorAPI.providers"

PROVIDERS = MappingProxyType(
    {
        "LOCAL": "acceleratorAPI.providers.local:LocalProvider",
    }
)

# Names of the guide that a user may rightly expect.
_EXPECTED = ("AWS", "OPENSTACK", "OVH")


def provider_names() -> list[str]:
    """The names ``get_provider`` knows, sorted."""
    return sorted({*PROVIDERS, *(point.name.upper() for point in entry_points(group=GROUP))})


def get_provider(name: str, configuration: Configuration) -> Provider:
    """The provider of that name, in any case.

    Raises:
        ProviderUnknownError: there is none; the message names the nearest.
    """
    wanted = name.strip().upper()
    if wanted in PROVIDERS:
        module, _, attribute = PROVIDERS[wanted].partition(":")
        kind = getattr(importlib.import_module(module), attribute)
    else:
        points = {point.name.upper(): point for point in entry_points(group=GROUP)}
        if wanted not in points:
            raise ProviderUnknownError(_unknown(name, wanted))
        kind = points[wanted].load()
    provider: Provider = kind(configuration)
    return provider


def _unknown(name: str, wanted: str) -> str:
    if wanted in _EXPECTED:
        return f"provider = {name!r}: this version has no such provider yet; use LOCAL (this machine)"
    return f"provider = {name!r}: no such provider; {nearest(name, provider_names())}"
