"""The catalogue and the page of a function."""

from __future__ import annotations

import json
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from markdown_it import MarkdownIt

from acceleratorAPI.store import shop
from acceleratorAPI.store.models import FunctionVersion
from acceleratorAPI.store.pages.context import membership_of

_EXAMPLE_NUMBER = 1000
# No HTML inside: what publishers write cannot become markup of ours. Links are checked by the library.
_MARKDOWN = MarkdownIt("js-default", {"html": False, "linkify": False})


def catalogue(request: HttpRequest) -> HttpResponse:
    """All published functions, or those that fit the search."""
    words = request.GET.get("q", "")[:200].replace("\0", "")
    return render(request, "store/catalogue.html", {"versions": shop.listed(words), "q": words})


def function(request: HttpRequest, name: str) -> HttpResponse:
    """A function: its docs, parameters, price, needs, and how to run it."""
    version = next((row for row in shop.listed("") if row.function.name == name), None)
    if version is None:
        raise Http404(f"no function {name} is published")
    schema = version.card["process_schema"]
    needed = {name: _example(schema["properties"][name]) for name in schema.get("required", ())}
    membership = membership_of(request)
    key = None
    if membership is not None:
        living = membership.organisation.applications.filter(revoked=None, scopes__contains="process")
        key = living.order_by("-created").first()
    return render(
        request,
        "store/function.html",
        {
            "version": version,
            "docs": _as_html(version.docs or version.card["description"]),
            "start_parameters": _parameters(version.card["configure_schema"]),
            "process_parameters": _parameters(version.card["process_schema"]),
            "needed": needed,
            "needed_json": json.dumps({"app": {"specific": needed}}),
            "key": key,
            "client_id": key.client_id if key else "YOUR_CLIENT_ID",
            "needs": _needs(version),
            "datafile": version.card["datafile"] == "required",
            "output": version.card["output"] != "none",
            "input": version.card["input"] != "none",
        },
    )


def _as_html(text: str) -> str:
    """Markdown below a page's own title, with links only where they lead somewhere from here."""
    tokens = _MARKDOWN.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 1, 6)}"
        dead = False
        for part in token.children or ():
            if part.type == "link_open":
                dead = not str(part.attrGet("href")).startswith(("https://", "http://", "mailto:", "#"))
            if part.type in ("link_open", "link_close") and dead:
                # Of files beside the publisher's own.
                part.tag, part.attrs = "span", {}
            elif part.type == "image":
                # Pictures of others are not loaded: their alternative text stands for them.
                part.type = "text"
    return str(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))


def _parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, values in schema.get("properties", {}).items():
        kind = values.get("type") or " or ".join(
            str(each.get("type", "value")) for each in values.get("anyOf", ()) if isinstance(each, dict)
        )
        choices = values.get("enum")
        rows.append(
            {
                "name": name,
                "kind": ", ".join(map(str, choices)) if choices else kind or "value",
                "default": values.get("default", ""),
                "required": name in schema.get("required", ()),
                "description": values.get("description", ""),
            }
        )
    return rows


def _example(values: dict[str, Any]) -> Any:
    """A value that a parameter may have."""
    if values.get("enum"):
        return values["enum"][0]
    if values.get("type") in ("integer", "number"):
        return min(max(_EXAMPLE_NUMBER, values.get("minimum", 0)), values.get("maximum", _EXAMPLE_NUMBER))
    return values.get("type") == "boolean" or "TEXT"


def _needs(version: FunctionVersion) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (provider, region, needs)
        for provider, regions in sorted(version.requirements.items())
        for region, needs in sorted(regions.items())
    ]
