"""The ``parameters`` text of a v1.0 request."""

from __future__ import annotations

import json

from acceleratorAPI.errors import ParameterError
from acceleratorAPI.node.asked import parse

ALLOWED = (ParameterError,)
SEEDS = (
    b'{"env": {"accelerator": "cast_gzip"}, "app": {"specific": {"level": 1}, "reset": true, "logging": {}}}',
    b'{"env": null, "app": ""}',
    b'{"app": {"specific": {"secret_key": "AKIA0123456789ABCDEF", "deep": [{"token": 1}]}}}',
    b"null",
    b"NaN",
    b"[" * 3000,
    b'{"a":' * 900,
    b'{"app": ' + b'{"a":' * 400 + b"1" + b"}" * 401,
    b'{"app": {"x": ' + b"[" * 700 + b"]" * 700 + b"}}",
    b'{"app": {"x": 1e999, "y": -0, "z": 123456789012345678901234567890}}',
)


def run(data: bytes) -> None:
    """What may be stored is JSON again."""
    asked = parse(data.decode("utf-8", "surrogatepass") if _is_text(data) else data.decode("latin-1"))
    assert isinstance(json.loads(asked.echo), dict)
    assert asked.accelerator is None or asked.accelerator


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True
