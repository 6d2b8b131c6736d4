from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from acceleratorAPI.protocol.cards import CatalogueEntry

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document(node: Any) -> Any:
    return node.get("/openapi.json").json


def test_the_document_is_valid_openapi(document: Any) -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator

    assert document["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_every_operation_says_what_it_does_and_how_it_fails(document: Any) -> None:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["description"], where
            if "open" not in operation["tags"]:
                assert "application/problem+json" in operation["responses"]["401"]["content"], where
                assert "default" in operation["responses"], where
            # The framework documents a shape of its own under 422, which no route answers with.
            assert "application/json" not in operation["responses"].get("422", {}).get("content", {}), where


def test_bodies_are_described(document: Any) -> None:
    for path, names in {
        "/v1.0/configuration/": {"parameters", "datafile"},
        "/v1.0/process/": {"parameters", "configuration", "datafile", "source", "folder", "target"},
    }.items():
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert set(content["multipart/form-data"]["schema"]["properties"]) == names
        assert set(content["application/json"]["schema"]["properties"]) == names - {"datafile"}


def test_v1_has_the_historical_operations(document: Any, node: Any) -> None:
    historical = node.get("/v1.0/schema/").json["paths"]
    for path, item in historical.items():
        for method, operation in item.items():
            assert document["paths"][path][method]["operationId"] == operation["operationId"]


def test_the_docs_page_needs_nothing_from_elsewhere(node: Any) -> None:
    page = node.get("/docs").body.decode()
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(links) == 4
    for link in links:
        assert "//" not in link
        assert node.get(f"/{link}").status == 200
    assert "http" not in page
    # Nothing inline runs: the answer's own Content-Security-Policy would stop it.
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|javascript:", page)


def test_every_route_is_in_the_reference(document: Any) -> None:
    reference = (ROOT / "docs/rest-api.md").read_text(encoding="utf-8")
    for path, item in document["paths"].items():
        for method in item:
            assert f"`{method.upper()} {path}`" in reference, f"{method.upper()} {path}"


def test_the_options_are_in_the_operators_page() -> None:
    from acceleratorAPI.node.__main__ import _parser

    page = (ROOT / "docs/operating-a-node.md").read_text(encoding="utf-8")
    for action in _parser()._actions:
        assert any(f"`{option}" in page for option in action.option_strings if option.startswith("--")), action


def test_the_catalogue(node: Any) -> None:
    entries = {entry["name"]: CatalogueEntry.model_validate(entry) for entry in node.get("/v2/functions").json}
    assert entries["test_words"].datafile == "required"
    assert set(entries["test_words"].configure_schema["properties"]) == {"password", "level"}
    assert entries["test_bytes"].process_schema["required"] == ["count"]


def test_the_face(node: Any) -> None:
    face = node.request("GET", "/", auth=False).json
    assert face["accelerator"] == "test_copy"
    assert "test_words" in face["functions"]
    for link in face["links"].values():
        assert node.get(link).status == 200
    assert node.request("HEAD", "/", auth=False).status == 200
