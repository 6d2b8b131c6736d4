"""What is written on everything we make, so that any machine of its owner finds it again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from acceleratorAPI.errors import ConfigurationError

OWNER = "acceleratorAPI:owner"
SESSION = "acceleratorAPI:session"
ACCELERATOR = "acceleratorAPI:accelerator"
MODE = "acceleratorAPI:stop-mode"
UNTIL = "acceleratorAPI:lease-until"
FROM = "acceleratorAPI:from"
PORT = "acceleratorAPI:port"
FINGERPRINT = "acceleratorAPI:fingerprint"
PRICE = "acceleratorAPI:usd-per-hour"
PRIVATE = "acceleratorAPI:private-address"
FPGA_IMAGE = "acceleratorAPI:fpga-image"

_LONGEST_NAME, _LONGEST_VALUE, _MOST = 128, 256, 35


def as_list(values: Mapping[str, str]) -> list[dict[str, str]]:
    """As AWS takes tags."""
    return [{"Key": name, "Value": value} for name, value in values.items()]


def as_mapping(values: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    """As AWS gives tags."""
    return {tag["Key"]: tag["Value"] for tag in values or ()}


def of_user(given: str | None) -> dict[str, str]:
    """The user's tags from ``NAME=VALUE, NAME=VALUE``.

    Raises:
        ConfigurationError: they are not written so, or AWS takes no such tags.
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in (given or "").split(","))):
        name, equals, value = (text.strip() for text in part.partition("="))
        wrong = not equals or not name or len(name) > _LONGEST_NAME or len(value) > _LONGEST_VALUE
        if wrong or re.match(r"(?i)aws:|acceleratorAPI:", name):
            raise ConfigurationError(f"[csp] tags: {part!r}: use NAME=VALUE, with a name of your own")
        found[name] = value
    if len(found) > _MOST:
        raise ConfigurationError(f"[csp] tags: {len(found)} tags: AWS takes {_MOST} beside ours")
    return found
