"""Which providers there are: ours by name, others by entry point. Each is imported when it is used."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from types import MappingProxyType

from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import ConfigurationError, ProviderUnknownError, nearest
from acceleratorAPI.providers.base import Provider

GROUP = "acceleratorAPI.providers"

PROVIDERS = MappingProxyType(
    {
        "AWS": "acceleratorAPI.providers.aws.provider:AwsProvider",
        "LOCAL": "acceleratorAPI.providers.local:LocalProvider",
    }
)

# Which extra of this package brings the packages that a provider imports.
_EXTRAS = {"boto3": "aws", "botocore": "aws"}

# Names of the guide that a user may rightly expect.
_EXPECTED = ("OPENSTACK", "OVH")


def provider_names() -> list[str]:
    """The names ``get_provider`` knows, sorted."""
    return sorted({*PROVIDERS, *(point.name.upper() for point in entry_points(group=GROUP))})


def get_provider(name: str, configuration: Configuration) -> Provider:
    """The provider of that name, in any case.

    Raises:
        ProviderUnknownError: there is none; the message names the nearest.
        ConfigurationError: the packages it needs are not installed.
    """
    wanted = name.strip().upper()
    if wanted in PROVIDERS:
        module, _, attribute = PROVIDERS[wanted].partition(":")
        try:
            kind = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] not in _EXTRAS:
                raise
            extra = _EXTRAS[error.name.partition(".")[0]]
            raise ConfigurationError(
                f"provider = {name!r} needs {error.name}: pip install 'acceleratorAPI[{extra}]'"
            ) from None
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
