"""Access keys: made, shown once, used, rotated, revoked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from joserfc import jwt
from joserfc.jwk import KeySet
from tenants import Tenant, join

from acceleratorAPI.store.models import Application, AuditEntry, Role, Secret

Make = Callable[..., Tenant]


def refused(answer: object) -> bool:
    return answer.status_code == 401 and answer.json()["error"] == "invalid_client"  # type: ignore[attr-defined]


def test_a_token_is_a_short_jwt_that_the_public_keys_check(tenant: Make) -> None:
    ada = tenant()
    answer = Client().post("/o/token/", {"grant_type": "client_credentials"}, **ada.basic)
    assert answer.headers["Cache-Control"] == "no-store"
    values = answer.json()
    assert values["token_type"] == "Bearer"
    assert "refresh_token" not in values
    keys = KeySet.import_key_set(Client().get("/.well-known/jwks.json").json())
    claims = jwt.decode(values["access_token"], keys, algorithms=["ES256"]).claims
    assert claims["iss"] == claims["aud"] == settings.STORE_URL
    assert claims["client_id"] == claims["sub"] == ada.application.client_id
    assert claims["org"] == str(ada.organisation.id)
    assert claims["exp"] - claims["iat"] == values["expires_in"] == 600
    assert set(claims["scope"].split()) == set(ada.application.scopes.split())


def test_no_private_part_of_a_signing_key_is_public(tenant: Make) -> None:
    assert all("d" not in key for key in Client().get("/.well-known/jwks.json").json()["keys"])


def test_the_secret_may_come_in_the_body_and_never_in_the_query(tenant: Make) -> None:
    ada = tenant()
    given = {"client_id": ada.application.client_id, "client_secret": ada.secret, "grant_type": "client_credentials"}
    assert Client().post("/o/token/", given).status_code == 200
    answer = Client().post(
        f"/o/token/?client_id={given['client_id']}&client_secret={ada.secret}", {"grant_type": "client_credentials"}
    )
    assert answer.status_code == 400


@pytest.mark.parametrize("secret", ["", "acs_wrong", "\0", "é" * 500, " "])
def test_wrong_credentials_are_invalid_client(tenant: Make, secret: str) -> None:
    ada = tenant()
    given = {"client_id": ada.application.client_id, "client_secret": secret, "grant_type": "client_credentials"}
    assert refused(Client().post("/o/token/", given))
    assert refused(Client().post("/o/token/", {**given, "client_id": "nobody"}))
    assert refused(Client().post("/o/token/", {**given, "client_id": "\0"}))


def test_no_secret_is_in_the_database(tenant: Make) -> None:
    ada = tenant()
    stored = str(list(Secret.objects.values())) + str(list(Application.objects.values()))
    assert ada.secret not in stored
    assert ada.secret.removeprefix("acs_")[:20] not in stored


def test_rotation_overlaps_and_the_third_secret_ends_the_first(tenant: Make) -> None:
    ada = tenant()
    second = ada.application.rotate()
    assert ada.application.check_secret(ada.secret)
    assert ada.application.check_secret(second)
    third = ada.application.rotate()
    assert [ada.application.check_secret(each) for each in (ada.secret, second, third)] == [False, True, True]
    Secret.objects.filter(tail=second[-4:]).update(expires=timezone.now() - timedelta(seconds=1))
    assert [ada.application.check_secret(each) for each in (second, third)] == [False, True]


def test_rotation_never_lengthens_the_life_of_a_secret(tenant: Make) -> None:
    ada = tenant()
    soon = timezone.now() + timedelta(minutes=1)
    Secret.objects.update(expires=soon)
    ada.application.rotate()
    assert Secret.objects.get(tail=ada.secret[-4:]).expires == soon


def test_a_revoked_key_gets_no_token_and_its_tokens_end(tenant: Make) -> None:
    ada = tenant()
    bearer = ada.bearer()
    assert Client().get("/api/v1/me", **bearer).status_code == 200
    assert ada.browser().post(f"/keys/{ada.application.client_id}/revoke/").status_code == 302
    assert Client().get("/api/v1/me", **bearer).status_code == 401
    assert refused(Client().post("/o/token/", {"grant_type": "client_credentials"}, **ada.basic))


def test_of_a_revoked_key_no_secret_is_listed_as_good(tenant: Make) -> None:
    ada = tenant()
    browser = ada.browser()
    assert f"…{ada.secret[-4:]}" in browser.get("/keys/").content.decode()
    browser.post(f"/keys/{ada.application.client_id}/revoke/")
    assert f"…{ada.secret[-4:]}" not in browser.get("/keys/").content.decode()


def test_last_used_is_kept(tenant: Make) -> None:
    ada = tenant()
    before = timezone.now()
    ada.token()
    ada.application.refresh_from_db()
    assert ada.application.last_used >= before


def test_scopes_are_those_of_the_key(tenant: Make) -> None:
    ada = tenant(scopes="process")
    answer = Client().post("/o/token/", {"grant_type": "client_credentials", "scope": "usage:read"}, **ada.basic)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    assert Client().get("/api/v1/usage", **ada.bearer()).status_code == 403


@pytest.mark.parametrize(
    "grant", ["password", "authorization_code", "refresh_token", "implicit", "", "client_credentials\0"]
)
def test_other_grants_are_refused(tenant: Make, grant: str) -> None:
    ada = tenant()
    fields = {"grant_type": grant, "username": ada.user.email, "password": "x", "code": "x", "refresh_token": "x"}
    answer = Client().post("/o/token/", fields, **ada.basic)
    assert answer.status_code in (400, 401)
    assert "access_token" not in answer.json()


@pytest.mark.django_db
def test_nothing_leads_back_to_an_address_of_a_request() -> None:
    for path in ("/o/authorize/", "/o/authorize", "/authorize/", "/o/token/", "/o/revoke_token/"):
        answer = Client().get(path, {"response_type": "code", "client_id": "x", "redirect_uri": "https://evil.example"})
        assert answer.status_code in (404, 405)
        assert "Location" not in answer.headers


def test_introspection_tells_of_the_own_organisation_alone(tenant: Make) -> None:
    ada, bob = tenant("Ada"), tenant("Bob")
    token = ada.token()
    own = Client().post("/o/introspect/", {"token": token}, **ada.basic).json()
    assert own["active"]
    assert own["client_id"] == ada.application.client_id
    assert Client().post("/o/introspect/", {"token": token}, **ada.bearer()).json()["active"]
    assert Client().post("/o/introspect/", {"token": token}, **bob.basic).json() == {"active": False}
    assert Client().post("/o/introspect/", {"token": token}, **bob.bearer()).json() == {"active": False}
    assert Client().post("/o/introspect/", {"token": token}).status_code in (401, 403)
    assert Client().get("/o/introspect/", {"token": token}, **ada.basic).status_code == 405


def test_only_the_own_token_can_be_revoked(tenant: Make) -> None:
    ada, bob = tenant("Ada"), tenant("Bob")
    token = ada.token()
    bearer = {"HTTP_AUTHORIZATION": f"Bearer {token}"}
    assert Client().post("/o/revoke_token/", {"token": token}, **bob.basic).status_code == 200
    assert Client().get("/api/v1/me", **bearer).status_code == 200
    assert Client().post("/o/revoke_token/", {"token": token}, **ada.basic).status_code == 200
    assert Client().get("/api/v1/me", **bearer).status_code == 401


def test_the_secret_is_shown_once(tenant: Make) -> None:
    ada = tenant()
    browser = ada.browser()
    page = browser.post("/keys/", {"name": "nightly", "scopes": ["process"]})
    application = Application.objects.get(name="nightly")
    secret = page.context["secret"]
    assert secret in page.content.decode()
    assert page.headers["Cache-Control"] == "no-store"
    assert application.check_secret(secret)
    assert application.scopes == "process"
    for address in ("/keys/", f"/keys/{application.client_id}/", "/organisation/"):
        assert secret not in browser.get(address).content.decode()
    assert AuditEntry.objects.filter(action="key.new", target=application.client_id).exists()


def test_billing_sees_keys_and_changes_none(tenant: Make) -> None:
    ada = tenant()
    browser = join(ada.organisation, "eve@example.org", Role.BILLING)
    assert browser.get("/keys/").status_code == 200
    place = f"/keys/{ada.application.client_id}/"
    for address in ("/keys/", place, f"{place}rotate/", f"{place}revoke/"):
        assert browser.post(address, {"name": "x", "scopes": ["process"]}).status_code == 403
    assert ada.application.check_secret(ada.secret)


def test_who_tries_tokens_is_slowed_down(tenant: Make) -> None:
    ada = tenant()
    answers = {
        Client().post("/o/token/", {"grant_type": "client_credentials", "client_id": "x"}).status_code
        for _ in range(125)
    }
    assert 429 in answers
    slow = Client().post("/o/token/", {"grant_type": "client_credentials"}, **ada.basic)
    assert slow.status_code == 429
    assert slow.headers["Retry-After"]
