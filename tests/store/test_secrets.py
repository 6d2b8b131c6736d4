"""Canaries: no secret that travels to the store comes out of it again, in a log at DEBUG, an answer or a page."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable

import pytest
from django.test import Client
from tenants import FakeNode, Tenant

Make = Callable[..., Tenant]
CANARY = "canary-5f0c9e7d"


class Seen:
    """Every answer that came, as text."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, answer: object) -> None:
        body = getattr(answer, "content", b"") or b"".join(getattr(answer, "streaming_content", ()))
        self.texts.append(body.decode() + str(getattr(answer, "headers", "")))


@pytest.mark.django_db
def test_no_secret_comes_out_again(tenant: Make, caplog: pytest.LogCaptureFixture, client: Client) -> None:
    ada, node, seen = tenant("Ada"), FakeNode(), Seen()
    caplog.set_level(logging.DEBUG)
    token = ada.token()
    basic = {"HTTP_AUTHORIZATION": "Basic " + base64.b64encode(f"{CANARY}:{CANARY}".encode()).decode()}
    bearer = {"HTTP_AUTHORIZATION": f"Bearer {CANARY}"}
    password = f"{CANARY}-password"
    form = {"grant_type": "client_credentials", "client_id": ada.application.client_id}
    seen(client.post("/o/token/", form | {"client_secret": CANARY}))
    seen(client.post(f"/o/token/?client_secret={CANARY}", form))
    seen(client.post("/o/token/", form, **basic))
    seen(client.post("/o/introspect/", {"token": CANARY}, **ada.basic))
    seen(client.post("/o/introspect/", {"token": token}, **ada.basic))
    seen(client.post("/o/revoke_token/", {"token": CANARY}, **ada.basic))
    seen(client.post("/sign-in/", {"username": "ada@example.org", "password": password}))
    seen(client.post("/sign-up/", {"email": "x@example.org", "organisation": "X", "password": password}))
    seen(client.post("/sign-up/", {"email": "no address", "password1": password, "password2": password + "2"}))
    for path in ("/api/v1/me", "/api/v1/usage", "/api/v1/usage/events", "/api/v1/usage.csv", "/metrics"):
        seen(client.get(path, **bearer))
        seen(client.get(f"{path}?access_token={CANARY}", **ada.bearer()))
    seen(client.post("/api/v1/nodes", "{", "application/json", **bearer))
    seen(node.register(ada))
    seen(node.report([node.event(ada, 1, "2026")], CANARY))
    browser = ada.browser()
    for path in ("/", "/keys/", f"/keys/{ada.application.client_id}/", "/usage/", "/usage/jobs/", "/organisation/"):
        seen(browser.get(path))
    secrets = (CANARY, ada.secret, token, "correct horse battery", str(node.key.as_dict(private=True)["d"]))
    logged = "\n".join(record.getMessage() + str(record.exc_text or "") for record in caplog.records)
    assert "POST /o/token/ 200" in logged
    assert logging.getLogger().level == logging.DEBUG
    for secret in secrets:
        assert secret not in logged
        assert not [text for text in seen.texts if secret in text]


@pytest.mark.django_db
def test_a_new_secret_is_shown_once(tenant: Make) -> None:
    ada = tenant("Ada")
    browser, place = ada.browser(), f"/keys/{ada.application.client_id}/"
    shown = browser.post(f"{place}rotate/", follow=True).content.decode()
    secret = shown[shown.index("acs_") :].split("<")[0].split('"')[0].split()[0]
    assert ada.application.check_secret(secret)
    assert secret not in browser.get(place).content.decode()
