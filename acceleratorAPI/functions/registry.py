"""Which functions there are: the entry points of one group, ours like anybody's. Each is imported when it is used."""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from acceleratorAPI.errors import AcceleratorError, FunctionUnknownError, nearest
from acceleratorAPI.functions.base import Function
from acceleratorAPI.protocol.cards import CatalogueEntry

GROUP = "acceleratorAPI.functions"

_log = logging.getLogger(__name__)


def installed() -> list[str]:
    """The names ``load`` knows, sorted. Nothing is imported."""
    return sorted(_entry_points())


@cache
def load(name: str) -> type[Function[Any, Any]]:
    """The function of that name.

    Raises:
        FunctionUnknownError: there is none (the message names the nearest), two packages have one,
            or its package is broken (the message names the package).
    """
    points = _entry_points()
    if name not in points:
        raise FunctionUnknownError(f"no function {name!r} is installed; {nearest(name, points)}")
    point, *others = points[name]
    if others:
        owners = ", ".join(sorted(_owner(each) for each in points[name]))
        raise FunctionUnknownError(f"function {name!r} comes from several packages ({owners}): uninstall all but one")
    try:
        kind = point.load()
    except Exception as error:
        message = f"function {name!r} of package {_owner(point)} cannot be imported: {type(error).__name__}: {error}"
        raise FunctionUnknownError(message) from error
    if not (isinstance(kind, type) and issubclass(kind, Function)):
        raise FunctionUnknownError(
            f"function {name!r} of package {_owner(point)}: {point.value} is no subclass of functions.base.Function"
        )
    if kind.card.name != name:
        raise FunctionUnknownError(
            f"function {name!r} of package {_owner(point)}: its card is named {kind.card.name!r}; make them equal"
        )
    return kind


def catalogue() -> list[CatalogueEntry]:
    """The cards of all functions that can be used, by name; one that cannot is logged and left out."""
    entries = []
    for name in installed():
        try:
            kind = load(name)
        except AcceleratorError as error:
            _log.warning("%s", error)
            continue
        entries.append(
            CatalogueEntry(
                **kind.card.model_dump(),
                configure_schema=kind.configure_parameters.model_json_schema(),
                process_schema=kind.process_parameters.model_json_schema(),
            )
        )
    return entries


def _entry_points() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        points = found.setdefault(point.name, [])
        # An editable install may be listed twice: the same object is the same function.
        if all(point.value != other.value for other in points):
            points.append(point)
    return found


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
