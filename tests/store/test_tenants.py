"""Nobody sees or changes what belongs to another organisation: every route, with every id of theirs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as tries
from tenants import FakeNode, Tenant

from acceleratorAPI.store.models import Application, AuditEntry, Membership, UsageEvent

Make = Callable[..., Tenant]
# The operators' pages have a test of their own below.
_OPERATORS = "admin/"


def routes(patterns: list[Any], prefix: str = "") -> Iterator[str]:
    """Every route of the store, as Django writes it."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route


def filled(route: str, ids: dict[str, str]) -> list[str]:
    """The route with each fitting id in each of its places."""
    found = [route]
    while any("<" in each for each in found):
        following = []
        for each in found:
            if "<" not in each:
                following.append(each)
                continue
            start, end = each.index("<"), each.index(">")
            following += [each[:start] + value + each[end + 1 :] for value in ids.values()]
        found = following
    return found


def test_no_route_gives_away_what_is_anothers(tenant: Make) -> None:
    ada, eve = tenant("Ada"), tenant("Eve")
    node = FakeNode()
    node.register(ada)
    node.report([node.event(ada, 1, datetime.now(UTC).isoformat(), function="adas_secret_function")])
    event = UsageEvent.objects.get()
    place = Membership.objects.get(user=ada.user)
    ids = {"client": ada.application.client_id, "organisation": str(ada.organisation.id), "node": str(node.id),
           "member": str(place.pk), "event": str(event.pk), "number": str(ada.application.pk)}  # fmt: skip
    private = [
        ada.application.client_id,
        "Ada's",
        "ada@example.org",
        str(node.id),
        str(ada.organisation.id),
        "adas_secret",
    ]
    before = (
        list(Application.objects.filter(organisation=ada.organisation).values()),
        list(Membership.objects.values()),
    )
    browser, bearer = eve.browser(), eve.bearer()
    query = "?" + "&".join(f"{name}={ids['event']}" for name in ("before", "id", "organisation", "application"))
    asked = 0
    for route in routes(get_resolver().url_patterns):
        if route.startswith((_OPERATORS, "api/v1/docs")):
            continue
        for address in filled(route, ids):
            for send in (browser.get, browser.post):
                for headers in ({}, bearer):
                    answer = send(f"/{address}{query}", **headers)
                    asked += 1
                    text = b"".join(answer.streaming_content) if answer.streaming else answer.content
                    assert answer.status_code < 500, address
                    # What was asked for may be repeated; nothing else may appear.
                    told = text.decode()
                    for value in ids.values():
                        told = told.replace(f"/{address}", "").replace(value, "") if value in address else told
                    assert not [word for word in private if word in told], address
    assert asked > 200
    after = (
        list(Application.objects.filter(organisation=ada.organisation).values()),
        list(Membership.objects.values()),
    )
    assert after == before


def test_the_operators_pages_are_the_operators(tenant: Make) -> None:
    ada = tenant()
    assert ada.browser().get("/admin/store/user/").status_code == 302
    ada.user.is_staff = ada.user.is_superuser = True
    ada.user.save()
    browser = ada.browser()
    for model in (
        "user",
        "organisation",
        "application",
        "function",
        "functionversion",
        "node",
        "usageevent",
        "auditentry",
    ):
        assert browser.get(f"/admin/store/{model}/").status_code == 200, model
    entry = AuditEntry.objects.create(actor="x", action="y")
    assert browser.post(f"/admin/store/auditentry/{entry.pk}/delete/", {"post": "yes"}).status_code == 403


def test_what_was_written_down_stays(tenant: Make) -> None:
    tenant()
    entry = AuditEntry.objects.create(actor="x", action="y")
    entry.actor = "z"
    with pytest.raises(Exception, match="cannot be changed"):
        entry.save()


def test_pages_have_no_script_of_their_own(tenant: Make) -> None:
    browser = tenant().browser()
    for address in ("/", "/keys/", "/usage/", "/organisation/", "/sign-up/"):
        answer = browser.get(address)
        page = answer.content.decode()
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "script-src 'self'" in policy
        assert "<style" not in page
        assert ' style="' not in page
        assert "onclick" not in page
        assert page.count("<script") == page.count('<script src="/static/')
        assert "http://" not in page.replace("http://127.0.0.1:8420", "").replace("http://www.w3.org", "")


def test_the_api_answers_as_its_description_says(tenant: Make) -> None:
    schema = schemathesis.openapi.from_dict(Client().get("/api/v1/openapi.json").json())
    bearer = tenant().bearer()
    for result in schema.get_all_operations():
        _try(result.ok(), bearer)


def _try(operation: Any, bearer: dict[str, str]) -> None:
    documented = {str(status): answer for status, answer in operation.definition.raw["responses"].items()}

    def check(answer: Any, *shown: Any) -> None:
        assert answer.status_code < 500, shown
        if answer.status_code in (404, 405) and str(answer.status_code) not in documented:
            return  # the path is another route's, or none's
        assert str(answer.status_code) in documented, (answer.status_code, *shown)
        kind = answer.headers["Content-Type"].partition(";")[0]
        assert kind in documented[str(answer.status_code)]["content"], (kind, *shown)
        if kind == "application/problem+json":
            assert answer.json()["detail"], shown

    @seed(1)
    @tries(
        max_examples=20, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        given_body = case.body if isinstance(case.body, dict | list | str | int | float | bool) else None
        query = urlencode({name: str(value) for name, value in (case.query or {}).items()}, errors="replace")
        answer = Client().generic(
            case.method, f"{case.formatted_path}?{query}", json.dumps(given_body), "application/json", **bearer
        )
        check(answer, case.method, case.formatted_path, query)
        if case.method == "POST":
            check(Client().generic("POST", case.formatted_path, b"{\xff", "application/json", **bearer), "no JSON")

    ask()
