"""Secrets out of what is stored, answered and logged. Names decide, and the shape of access-key ids and signed URLs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from acceleratorAPI.remote.names import without_secrets

MASK = "***"

_NAME = re.compile(r"secret|token|passw|key|credential|aws", re.IGNORECASE)
_ACCESS_KEY_ID = re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{12,}\b")
_CREDENTIALS = re.compile(r"\b((?:bearer|basic)\s+)[\w.~+/-]{8,}=*", re.IGNORECASE)
_QUERY = re.compile(
    r"([?&](?:[\w-]*(?:token|secret|passw|key|credential|signature)[\w-]*|sig)=)[^&\s\"']+", re.IGNORECASE
)


def without_secret_names(values: Mapping[str, str]) -> dict[str, str]:
    """Those of ``values`` whose name is not that of a secret: an environment for those who need none."""
    return {name: value for name, value in values.items() if not (_NAME.search(name) or name.startswith("OTEL_"))}


def masked(value: Any, name: str = "") -> Any:
    """A copy of a JSON value in which every secret is ``***``."""
    if isinstance(value, Mapping):
        return {key: masked(item, str(key)) for key, item in value.items()}
    if name and _NAME.search(name) and value not in (None, "", [], False):
        return MASK
    if isinstance(value, list):
        return [masked(item, name) for item in value]
    if isinstance(value, str):
        return _ACCESS_KEY_ID.sub(MASK, without_secrets(value))
    return value


def scrubbed(text: str, values: Mapping[str, Any]) -> str:
    """``text`` without the secrets that ``values`` holds."""
    for secret in sorted(set(_secrets(values)), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _ACCESS_KEY_ID.sub(MASK, without_secrets(text))


def shown(text: str) -> str:
    """``text`` without what looks like a secret by its shape alone: for lines whose origin nobody knows."""
    text = _CREDENTIALS.sub(rf"\1{MASK}", text)
    return _ACCESS_KEY_ID.sub(MASK, _QUERY.sub(rf"\1{MASK}", text))


def _secrets(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            # Whatever lies below a secret name is secret.
            yield from _secrets(item, name if name and _NAME.search(name) else str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _secrets(item, name)
    elif name and _NAME.search(name) and value not in (None, "", False, True):
        yield str(value)
