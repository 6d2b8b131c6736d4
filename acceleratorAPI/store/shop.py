"""The catalogue as people and programs get it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from acceleratorAPI.store.models import FunctionVersion


def listed(words: str) -> list[FunctionVersion]:
    """The published version of each function, by name; those that hold every word."""
    rows: dict[str, FunctionVersion] = {}
    for row in _published(words.replace("\0", " ").lower().split()[:10]):
        rows[row.function.name] = row
    return [rows[name] for name in sorted(rows)]


def csp_configuration() -> dict[str, dict[str, dict[str, Any]]]:
    """``{provider: {function: {region: {"image", "instancetype", "fpgaimage"}}}}``, as historical clients read it."""
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in listed(""):
        for provider, regions in row.requirements.items():
            found[provider][row.function.name] = regions
    return dict(found)


def _published(words: Iterable[str]) -> Iterable[FunctionVersion]:
    """Oldest first, so that the newest of a function comes last."""
    rows = FunctionVersion.objects.filter(state=FunctionVersion.State.PUBLISHED).select_related("function")
    for word in words:
        rows = rows.filter(search__contains=word)
    return rows.order_by("published", "pk")
