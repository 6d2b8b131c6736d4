"""A store in this process: tenants, and what a node does towards it. To be imported before any of Django."""

# ruff: noqa: E402 - Django must be ready before its models are imported

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
import time
import uuid
from dataclasses import dataclass
from functools import cache
from typing import Any

os.environ["STORE_STATE"] = tempfile.mkdtemp(prefix="store-")
os.environ["STORE_URL"] = "http://127.0.0.1:8420"
os.environ["STORE_METRICS_TOKEN"] = "figures"
os.environ["DJANGO_SETTINGS_MODULE"] = "acceleratorAPI.store.settings"

from acceleratorAPI.store import operate

operate.prepare()

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.test import Client
from joserfc import jwt
from joserfc.jwk import OKPKey

from acceleratorAPI.store.models import Application, Membership, Organisation, Role, User

PASSWORD = "correct horse battery"


@dataclass
class Tenant:
    """An organisation with a person and a key."""

    organisation: Organisation
    user: User
    application: Application
    secret: str

    def browser(self) -> Client:
        """Signed in, and strict about CSRF as browsers must be."""
        client = Client()
        client.force_login(self.user, "django.contrib.auth.backends.ModelBackend")
        return client

    @property
    def basic(self) -> dict[str, str]:
        text = f"{self.application.client_id}:{self.secret}"
        return {"HTTP_AUTHORIZATION": "Basic " + base64.b64encode(text.encode()).decode()}

    def token(self, **fields: str) -> str:
        answer = Client().post("/o/token/", {"grant_type": "client_credentials", **fields}, **self.basic)
        assert answer.status_code == 200, answer.content
        return str(answer.json()["access_token"])

    def bearer(self, **fields: str) -> dict[str, str]:
        return {"HTTP_AUTHORIZATION": f"Bearer {self.token(**fields)}"}


@cache
def _hash() -> str:
    """Argon2 is slow on purpose: once is enough."""
    return make_password(PASSWORD)


def person(email: str) -> User:
    return User.objects.create(email=email, password=_hash())


def make_tenant(name: str = "Ada", scopes: str = "process usage:read introspection catalogue:write") -> Tenant:
    user = person(f"{name.lower()}@example.org")
    organisation = Organisation.found(f"{name}'s works", user)
    application, secret = Application.make(organisation, f"{name}'s key", scopes)
    return Tenant(organisation, user, application, secret)


def join(organisation: Organisation, email: str, role: Role) -> Client:
    """Somebody of that role, signed in."""
    user = person(email)
    Membership.objects.create(organisation=organisation, user=user, role=role)
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    return client


class FakeNode:
    """What a node does towards the store."""

    def __init__(self) -> None:
        self.id = uuid.uuid4()
        self.key = OKPKey.generate_key("Ed25519")

    def register(self, tenant: Tenant) -> Any:
        body = {"id": str(self.id), "public_key": self.key.as_dict(private=False), "name": "n"}
        return Client().post("/api/v1/nodes", body, "application/json", **tenant.bearer())

    def event(self, tenant: Tenant, job: int, moment: str, **data: Any) -> dict[str, Any]:
        values = {"job": str(job), "function": "cast_gzip", "function_version": "1", "engine": "cpu",
                  "status": "succeeded", "bytes_in": "1000", "bytes_out": "500", "engine_us": "7", "wall_us": "9",
                  "attempt": 1, **data}  # fmt: skip
        return {"specversion": "1.0", "id": str(uuid.uuid5(self.id, f"job/{job}")), "source": f"/nodes/{self.id}",
                "type": "dev.acceleratorapi.usage.v1", "subject": tenant.application.client_id, "time": moment,
                "datacontenttype": "application/json", "data": values}  # fmt: skip

    def sign(self, body: bytes, **claims: Any) -> str:
        now = int(time.time())
        values = {"iss": str(self.id), "aud": settings.STORE_URL, "iat": now, "exp": now + 60,
                  "sha256": hashlib.sha256(body).hexdigest(), **claims}  # fmt: skip
        return jwt.encode({"alg": "Ed25519", "kid": str(self.id)}, values, self.key, algorithms=["Ed25519"])

    def report(self, events: list[Any], signature: str | None = None) -> Any:
        body = json.dumps(events).encode()
        headers = {"HTTP_AUTHORIZATION": f"Bearer {signature or self.sign(body)}"}
        return Client().post("/api/v1/usage", body, "application/cloudevents-batch+json", **headers)
