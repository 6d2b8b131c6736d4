"""Applications, which programs are to the store, and their secrets."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q
from django.utils import timezone
from oauth2_provider.models import AbstractApplication, AccessToken

from acceleratorAPI.store.models.accounts import Organisation

SECRET_PREFIX = "acs_"  # noqa: S105 - lets scanners of leaked secrets know ours
_TAIL = 4
# How often "last used" is written: it is for people, not for counting.
_USED_EVERY = timedelta(minutes=1)
# How long the old secret goes on being good after a rotation, when nobody says otherwise.
OVERLAP = timedelta(days=7)


def new_client_id() -> str:
    """128 random bits; no secret."""
    return secrets.token_hex(16)


class Application(AbstractApplication):  # type: ignore[misc]  # django-oauth-toolkit has no types
    """A program's access key: ``client_id`` and up to two secrets.

    Attributes:
        scopes: what its tokens may allow, with spaces.
        revoked: since when nothing is granted to it.
        quota_jobs: jobs a month, ``None`` for any number.
        quota_bytes: bytes in and out a month, ``None`` for any number.
    """

    organisation: models.ForeignKey[Organisation, Organisation] = models.ForeignKey(
        Organisation, models.CASCADE, related_name="applications"
    )
    scopes: models.CharField[str, str] = models.CharField(max_length=200, default="process usage:read introspection")
    last_used: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(null=True, editable=False)
    revoked: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(null=True, blank=True)
    quota_jobs: models.BigIntegerField[int | None, int | None] = models.BigIntegerField(null=True, blank=True)
    quota_bytes: models.BigIntegerField[int | None, int | None] = models.BigIntegerField(null=True, blank=True)

    class Meta:
        indexes = (models.Index(fields=("organisation", "created"), name="application_organisation"),)

    def __str__(self) -> str:
        return str(self.name or self.client_id)

    @classmethod
    def make(cls, organisation: Organisation, name: str, scopes: str = "") -> tuple[Application, str]:
        """A new one, and its secret: shown once, kept nowhere."""
        with transaction.atomic():
            application = cls(
                organisation=organisation,
                name=name,
                client_id=new_client_id(),
                # Secrets are rows of their own; this column of the library's model stays without one.
                client_secret="",
                hash_client_secret=False,
                client_type=cls.CLIENT_CONFIDENTIAL,
                authorization_grant_type=cls.GRANT_CLIENT_CREDENTIALS,
            )
            if scopes:
                application.scopes = scopes
            application.save()
            return application, Secret.make(application)

    def is_usable(self, request: object) -> bool:
        """Whether tokens are granted to it; django-oauth-toolkit asks."""
        return self.revoked is None

    def rotate(self, overlap: timedelta = OVERLAP) -> str:
        """A new secret; the one before goes on being good for ``overlap``, older ones end now."""
        with transaction.atomic():
            # Locked, so that two rotations at a time do not leave three.
            Application.objects.select_for_update().get(pk=self.pk)
            ends = timezone.now() + overlap
            for place, secret in enumerate(self.live_secrets().order_by("-pk")):
                limit = ends if place == 0 else timezone.now()
                secret.expires = min(secret.expires or limit, limit)
                secret.save(update_fields=["expires"])
            return Secret.make(self)

    def revoke(self) -> None:
        """Nothing more is granted, and tokens that are out are worth nothing to the store."""
        with transaction.atomic():
            self.revoked = self.revoked or timezone.now()
            self.save(update_fields=["revoked"])
            AccessToken.objects.filter(application=self).delete()

    def live_secrets(self) -> models.QuerySet[Secret]:
        """Those that are good now, two at most."""
        return Secret.objects.filter(Q(expires=None) | Q(expires__gt=timezone.now()), application=self)

    def check_secret(self, given: str) -> bool:
        """Whether ``given`` is one of its secrets; takes as long either way."""
        digest, found = digest_of(given), None
        for secret in self.live_secrets():
            if hmac.compare_digest(secret.digest, digest):
                found = secret
        if found is None:
            return False
        now = timezone.now()
        stale = Q(last_used=None) | Q(last_used__lt=now - _USED_EVERY)
        Secret.objects.filter(stale, pk=found.pk).update(last_used=now)
        Application.objects.filter(stale, pk=self.pk).update(last_used=now)
        return True


class Secret(models.Model):
    """One secret at rest.

    Attributes:
        digest: HMAC-SHA256 under the store's pepper. A secret is 256 random bits: nobody can try them all, so that
            a slow hash would cost a third of a second a token and add nothing.
        tail: its last characters, for people to tell secrets apart.
        expires: when it ends, ``None`` for never.
    """

    application = models.ForeignKey(Application, models.CASCADE, related_name="secrets")
    digest = models.CharField(max_length=64)
    tail = models.CharField(max_length=8)
    created = models.DateTimeField(default=timezone.now, editable=False)
    expires = models.DateTimeField(null=True, blank=True)
    last_used = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering: ClassVar[Any] = (F("pk").desc(),)

    def __str__(self) -> str:
        return f"…{self.tail}"

    @classmethod
    def make(cls, application: Application) -> str:
        """A new one in clear."""
        secret = SECRET_PREFIX + secrets.token_urlsafe(32)
        cls.objects.create(application=application, digest=digest_of(secret), tail=secret[-_TAIL:])
        return secret

    @property
    def live(self) -> bool:
        """Whether it is good now."""
        ends: datetime | None = self.expires
        return ends is None or ends > timezone.now()


def digest_of(secret: str) -> str:
    """What of a secret is stored."""
    return hmac.new(settings.STORE_PEPPER, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
