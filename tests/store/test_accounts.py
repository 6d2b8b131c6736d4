"""People: sign up, sign in, organisations and their roles."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core import mail
from django.test import Client
from tenants import PASSWORD, Tenant, join

from acceleratorAPI.store.models import Membership, Role, User

Make = Callable[..., Tenant]
FORM = {
    "email": "Ada@Example.org",
    "name": "Ada",
    "organisation": "Works",
    "password1": PASSWORD,
    "password2": PASSWORD,
}


@pytest.mark.django_db
def test_sign_up_gives_an_organisation_of_ones_own() -> None:
    client = Client()
    assert client.post("/sign-up/", FORM).headers["Location"] == "/keys/"
    user = User.objects.get()
    assert user.email == "ada@example.org"
    assert user.password.startswith("argon2$argon2id$")
    assert user.memberships.get().role == Role.OWNER
    assert "Works" in client.get("/keys/").content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change", [{"password1": "12345678", "password2": "12345678"}, {"email": "no"}, {"organisation": ""}]
)
def test_a_bad_sign_up_says_why_and_makes_nothing(change: dict[str, str]) -> None:
    page = Client().post("/sign-up/", FORM | change)
    assert page.status_code == 200
    assert 'role="alert"' in page.content.decode()
    assert not User.objects.exists()


@pytest.mark.django_db
def test_an_address_has_one_account_whatever_its_capitals() -> None:
    Client().post("/sign-up/", FORM)
    page = Client().post("/sign-up/", FORM | {"email": "ADA@example.org"})
    assert "There is an account" in page.content.decode()
    assert User.objects.count() == 1


def test_sign_in_and_out(tenant: Make) -> None:
    tenant()
    client = Client()
    assert client.get("/keys/").headers["Location"] == "/sign-in/?next=/keys/"
    form = {"username": "Ada@example.org", "password": PASSWORD, "next": "/keys/"}
    assert client.post("/sign-in/", form).headers["Location"] == "/keys/"
    assert client.post("/sign-out/").status_code == 302
    assert client.get("/keys/").status_code == 302


@pytest.mark.parametrize("where", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil.example"])
def test_signing_in_leads_nowhere_else(tenant: Make, where: str) -> None:
    tenant()
    answer = Client().post("/sign-in/", {"username": "ada@example.org", "password": PASSWORD, "next": where})
    assert answer.headers["Location"] == "/keys/"


def test_who_guesses_passwords_is_locked_out(tenant: Make) -> None:
    tenant()
    client = Client()
    for _ in range(10):
        answer = client.post("/sign-in/", {"username": "ada@example.org", "password": "wrong"})
    assert answer.status_code == 429
    assert client.post("/sign-in/", {"username": "ada@example.org", "password": PASSWORD}).status_code == 429


def test_forms_need_their_csrf_token(tenant: Make) -> None:
    ada = tenant()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ada.user, "django.contrib.auth.backends.ModelBackend")
    assert strict.post("/keys/", {"name": "x", "scopes": ["process"]}).status_code == 403
    assert strict.post(f"/keys/{ada.application.client_id}/revoke/").status_code == 403


def test_a_forgotten_password_is_set_anew_by_mail(tenant: Make) -> None:
    tenant()
    Client().post("/password/", {"email": "ada@example.org"})
    link = next(word for word in mail.outbox[0].body.split() if "/password/" in word)
    client = Client()
    form = client.get("/password/" + link.split("/password/")[1]).headers["Location"]
    new = "another long password"
    assert client.post(form, {"new_password1": new, "new_password2": new}).status_code == 302
    assert Client().post("/sign-in/", {"username": "ada@example.org", "password": new}).status_code == 302


@pytest.mark.django_db
def test_nobody_makes_accounts_or_mails_by_the_dozen(tenant: Make) -> None:
    tenant("Eve")
    for number in range(11):
        page = Client().post("/sign-up/", FORM | {"email": f"{number}@example.org"})
        Client().post("/password/", {"email": "eve@example.org"})
    assert "Too many accounts" in page.content.decode()
    assert "Too many mails" in Client().post("/password/", {"email": "eve@example.org"}).content.decode()
    assert User.objects.filter(email__contains="@").count() == 11
    assert len(mail.outbox) == 10


def test_owners_let_people_in_and_out(tenant: Make) -> None:
    ada, bob = tenant("Ada"), tenant("Bob")
    browser = ada.browser()
    browser.post("/organisation/members/", {"email": "BOB@example.org", "role": "member"})
    place = Membership.objects.get(organisation=ada.organisation, user=bob.user)
    theirs = bob.browser()
    theirs.post(f"/organisation/{ada.organisation.id}/choose/")
    assert ada.application.client_id in theirs.get("/keys/").content.decode()
    browser.post(f"/organisation/members/{place.pk}/remove/")
    assert ada.application.client_id not in theirs.get("/keys/").content.decode()


def test_an_organisation_keeps_an_owner(tenant: Make) -> None:
    ada = tenant()
    mine = Membership.objects.get(user=ada.user)
    browser = ada.browser()
    browser.post(f"/organisation/members/{mine.pk}/remove/")
    browser.post("/organisation/members/", {"email": ada.user.email, "role": "billing"})
    mine.refresh_from_db()
    assert mine.role == Role.OWNER


@pytest.mark.parametrize("role", [Role.MEMBER, Role.BILLING])
def test_only_owners_change_members(tenant: Make, role: Role) -> None:
    ada = tenant()
    browser = join(ada.organisation, "eve@example.org", role)
    mine = Membership.objects.get(user=ada.user)
    assert browser.post("/organisation/members/", {"email": "eve@example.org", "role": "owner"}).status_code == 403
    assert browser.post(f"/organisation/members/{mine.pk}/remove/").status_code == 403
    may = role.may_change_budget
    assert browser.post("/organisation/budget/", {"amount": "5"}).status_code == (302 if may else 403)
