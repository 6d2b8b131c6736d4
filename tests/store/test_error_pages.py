"""What people see when something is not as they thought: the site's own page, with a way on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from tenants import Tenant, join

from acceleratorAPI.store import shop
from acceleratorAPI.store.models import Role

Make = Callable[..., Tenant]


@pytest.mark.django_db
def test_a_page_that_is_not_there() -> None:
    for address in ("/functions/nothing/", "/nowhere/"):
        answer = Client().get(address)
        assert answer.status_code == 404
        assert "There is no such page" in answer.content.decode()
        assert "See all functions" in answer.content.decode()


def test_who_may_not_is_told_why(tenant: Make) -> None:
    browser = join(tenant().organisation, "eve@example.org", Role.BILLING)
    answer = browser.post("/keys/", {"name": "x", "scopes": ["process"]})
    assert answer.status_code == 403
    assert "Billing sees keys, and does not change them." in answer.content.decode()


def test_a_form_without_its_token_says_what_to_do(tenant: Make) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(tenant().user, "django.contrib.auth.backends.ModelBackend")
    answer = strict.post("/keys/", {"name": "x", "scopes": ["process"]})
    assert answer.status_code == 403
    assert "load the page anew" in answer.content.decode()


@pytest.mark.django_db
def test_trouble_is_said_without_its_details(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(words: str) -> Any:
        raise RuntimeError("the inside")

    monkeypatch.setattr(shop, "listed", broken)
    answer = Client(raise_request_exception=False).get("/")
    assert answer.status_code == 500
    assert "The store has trouble" in answer.content.decode()
    assert "the inside" not in answer.content.decode()


@pytest.mark.django_db
def test_a_link_for_a_new_password_that_is_used_up_leads_to_another() -> None:
    page = Client().get("/password/x/y/").content.decode()
    assert "Ask for a new one" in page
    assert "new_password1" not in page
