"""The catalogue: drafts, publication, withdrawal; who owns a name; what historical clients read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from tenants import Tenant

from acceleratorAPI.functions import registry
from acceleratorAPI.store.models import FunctionVersion

Make = Callable[..., Tenant]
NEEDS = {"AWS": {"eu-west-1": {"image": "ami-1", "instancetype": "f1.2xlarge", "fpgaimage": "agfi-1"}}}


def card(name: str = "cast_gzip", **change: Any) -> dict[str, Any]:
    entry = next(entry for entry in registry.catalogue() if entry.name == "cast_gzip")
    return entry.model_dump(mode="json") | {"name": name, "version": "1"} | change


def bring(tenant: Tenant, publish: bool = True, **body: Any) -> Any:
    values = {"card": card(), "requirements": NEEDS, **body}
    answer = Client().post("/api/v1/functions", values, "application/json", **tenant.bearer())
    if publish and answer.status_code == 201:
        return move(tenant, values["card"]["name"], values["card"]["version"], "published")
    return answer


def move(tenant: Tenant, name: str, version: str, state: str) -> Any:
    place = f"/api/v1/functions/{name}/versions/{version}/state"
    return Client().post(place, {"state": state}, "application/json", **tenant.bearer())


def test_every_installed_function_can_be_published(tenant: Make) -> None:
    ada = tenant()
    for entry in registry.catalogue():
        assert bring(ada, card=entry.model_dump(mode="json")).status_code == 200
    names = [each["name"] for each in Client().get("/api/v1/functions").json()]
    assert names == registry.installed()
    for name in names:
        assert Client().get(f"/functions/{name}/").status_code == 200


def test_a_draft_is_seen_by_nobody(tenant: Make) -> None:
    ada = tenant()
    assert bring(ada, publish=False).status_code == 201
    assert Client().get("/api/v1/functions").json() == []
    assert Client().get("/api/v1/functions/cast_gzip").status_code == 404
    assert Client().get("/functions/cast_gzip/").status_code == 404


def test_what_is_published_stays_as_it_is(tenant: Make) -> None:
    ada = tenant()
    bring(ada)
    assert bring(ada, docs="other").status_code == 409
    assert move(ada, "cast_gzip", "1", "withdrawn").status_code == 200
    assert move(ada, "cast_gzip", "1", "published").status_code == 409
    assert Client().get("/api/v1/functions").json() == []


def test_the_version_published_last_is_shown(tenant: Make) -> None:
    ada = tenant()
    bring(ada)
    bring(ada, card=card(version="2"))
    assert Client().get("/api/v1/functions/cast_gzip").json()["version"] == "2"
    move(ada, "cast_gzip", "2", "withdrawn")
    assert Client().get("/api/v1/functions/cast_gzip").json()["version"] == "1"


def test_a_name_belongs_to_who_brought_it_first(tenant: Make) -> None:
    ada, bob = tenant("Ada"), tenant("Bob")
    bring(ada)
    assert bring(bob, card=card(version="9")).status_code == 403
    assert move(bob, "cast_gzip", "1", "withdrawn").status_code == 404
    assert FunctionVersion.objects.get().state == "published"


def test_publishing_needs_its_scope(tenant: Make) -> None:
    answer = bring(tenant(scopes="process"), publish=False)
    assert answer.status_code == 403
    assert "make a key with “Publish functions”" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"card": {}},
        {"card": card(name="../x")},
        {"card": card(name="A")},
        {"card": card(version="")},
        {"card": card(version="a/b")},
        {"card": card(title="\0")},
        {"price_gb_nano": -1},
        {"price_gb_nano": 10**16},
        {"requirements": {"AWS": {"eu": {"image": 7}}}},
        {"unknown": 1},
    ],
)
def test_a_bad_card_is_refused(tenant: Make, body: dict[str, Any]) -> None:
    answer = bring(tenant(), publish=False, **body)
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]
    assert not FunctionVersion.objects.exists()


def test_historical_clients_get_their_shape(tenant: Make) -> None:
    ada = tenant()
    bring(ada)
    assert Client().get("/auth/getlastcspconfiguration/").status_code == 401
    answer = Client().get("/auth/getlastcspconfiguration/", **ada.bearer())
    assert answer.json() == {"AWS": {"cast_gzip": NEEDS["AWS"]}}


@pytest.mark.parametrize(("words", "found"), [("gzip", 1), ("GZIP cores", 1), ("jpeg", 0), ("%", 0), ("\0", 1)])
def test_search_finds_every_word(tenant: Make, words: str, found: int) -> None:
    bring(tenant(), card=card(description="Gzip on all cores"))
    assert len(Client().get("/api/v1/functions", {"q": words}).json()) == found
    assert Client().get("/", {"q": words}).status_code == 200


def test_docs_cannot_become_markup_of_ours(tenant: Make) -> None:
    bring(tenant(), docs="# Good\n<script>alert(1)</script> [x](javascript:alert(1)) <img src=x onerror=alert(1)>")
    page = Client().get("/functions/cast_gzip/").content.decode()
    assert "<h2>Good</h2>" in page
    assert "<script>alert" not in page
    assert 'href="javascript' not in page
    assert "<img" not in page


def test_links_to_files_beside_the_docs_are_text(tenant: Make) -> None:
    bring(tenant(), docs="[code](../examples/x.py), [all](https://example.org/), ![shot](shot.png) [end](#end)")
    page = Client().get("/functions/cast_gzip/").content.decode()
    assert "<span>code</span>" in page
    assert '<a href="https://example.org/">all</a>' in page
    assert '<a href="#end">end</a>' in page
    assert "<img" not in page
    assert "shot" in page


def test_the_page_names_the_readers_own_key(tenant: Make) -> None:
    ada = tenant()
    bring(ada)
    assert ada.application.client_id in ada.browser().get("/functions/cast_gzip/").content.decode()
    assert ada.application.client_id not in Client().get("/functions/cast_gzip/").content.decode()
