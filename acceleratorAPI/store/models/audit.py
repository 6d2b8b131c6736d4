"""Who did what: entries are added, never changed."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from acceleratorAPI.store.models.accounts import Organisation


class AuditEntry(models.Model):
    """One act.

    Attributes:
        actor: an e-mail address, a client id, ``node ID`` or ``operator``: text, as it outlives whom it names.
        action: a word like ``key.rotate``.
        target: what it was done to.
    """

    at = models.DateTimeField(default=timezone.now, editable=False)
    organisation = models.ForeignKey(Organisation, models.SET_NULL, null=True, related_name="audit")
    actor = models.CharField(max_length=255)
    action = models.CharField(max_length=40)
    target = models.CharField(max_length=255, blank=True)
    detail = models.JSONField(default=dict)

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = (models.Index(fields=("organisation", "-at"), name="audit_organisation"),)

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.actor} {self.action} {self.target}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add it; what is written stays.

        Raises:
            ValidationError: it exists already.
        """
        if self.pk:
            raise ValidationError("an audit entry cannot be changed")
        super().save(*args, **kwargs)

    @classmethod
    def note(
        cls, action: str, actor: object, organisation: Organisation | None, target: str = "", **detail: Any
    ) -> None:
        """Add an entry."""
        cls.objects.create(
            action=action, actor=str(actor)[:255], organisation=organisation, target=target[:255], detail=detail
        )
