"""The instances a provider knows, as the configuration names it."""

from __future__ import annotations

from acceleratorAPI.config import Configuration
from acceleratorAPI.providers.base import Instance
from acceleratorAPI.providers.registry import get_provider


def list_instances() -> list[Instance]:
    """Those of the configured provider, oldest first."""
    configuration = Configuration.load(None)
    return get_provider(configuration.get("csp", "provider"), configuration).instances()
