"""What the ``parameters`` text of a v1.0 request asks for: which function, with which parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from acceleratorAPI.errors import ParameterError
from acceleratorAPI.node.bodies import parse_json
from acceleratorAPI.node.redact import masked

# Switches of the historical FPGA service. They change nothing here and are no parameters of a function.
SWITCHES = frozenset({"reset", "reload", "logging", "specific", "enable-hw-statistics", "enable-sw-comparison"})


@dataclass(frozen=True, slots=True)
class Asked:
    """Attributes:
    accelerator: ``env.accelerator``, ``None`` when absent.
    parameters: ``app.specific`` together with the other keys of ``app``.
    echo: the whole text as it may be stored and answered, secrets masked.
    env: as it came, access key included.
    """

    accelerator: str | None
    parameters: dict[str, Any]
    echo: str
    env: dict[str, Any] = field(default_factory=dict, repr=False)


def parse(text: str | None) -> Asked:
    """Read the ``parameters`` field; absent and empty ask for nothing special.

    Raises:
        ParameterError: it is not JSON of the form ``{"env": {...}, "app": {...}}``.
    """
    if text is None or not text.strip():
        return Asked(None, {}, "{}")
    try:
        values = parse_json(text)
    except ValueError as error:
        # Say where, never what: the text may hold a secret.
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ParameterError(f'parameters: not JSON{where}; send {{"env": {{...}}, "app": {{...}}}}') from None
    if values is None:
        return Asked(None, {}, "{}")
    if not isinstance(values, dict):
        raise ParameterError('parameters: not a JSON object; send {"env": {...}, "app": {...}}')
    env, app = _object(values, "env"), _object(values, "app")
    specific = _object(app, "specific", "app.specific")
    accelerator = env.get("accelerator")
    for name in ("accelerator", "AGFI"):
        if not isinstance(env.get(name) or "", str):
            raise ParameterError(f"parameters: env.{name} is not text")
    parameters = {**{name: value for name, value in app.items() if name not in SWITCHES}, **specific}
    try:
        echo = json.dumps(masked(values))
    except RecursionError:
        raise ParameterError("parameters: objects and lists are nested too deep") from None
    return Asked(accelerator or None, parameters, echo, env)


def _object(values: Mapping[str, Any], name: str, shown: str | None = None) -> dict[str, Any]:
    value = values.get(name)
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise ParameterError(f"parameters: {shown or name} is not a JSON object")
    return value
