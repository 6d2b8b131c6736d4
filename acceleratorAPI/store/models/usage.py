"""What was used: nodes, their events as they came, sums by day."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from acceleratorAPI.store.models.accounts import Organisation
from acceleratorAPI.store.models.keys import Application


class Node(models.Model):
    """A node that reports usage, known by the public key it signs with.

    Attributes:
        public_key: an Ed25519 key as JWK.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=120, blank=True)
    public_key = models.JSONField()
    provider = models.CharField(max_length=40, blank=True)
    region = models.CharField(max_length=40, blank=True)
    version = models.CharField(max_length=40, blank=True)
    created = models.DateTimeField(default=timezone.now, editable=False)
    seen = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.name or str(self.id)

    @property
    def source(self) -> str:
        """What its events say in ``source``."""
        return f"/nodes/{self.id}"


class NodeGrant(models.Model):
    """An application has shown itself to a node: the node may report what that one uses."""

    node = models.ForeignKey(Node, models.CASCADE, related_name="grants")
    application = models.ForeignKey(Application, models.CASCADE, related_name="node_grants")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("node", "application"), name="one_grant"),)

    def __str__(self) -> str:
        return f"{self.node} for {self.application}"


class UsageEvent(models.Model):
    """The end of one job. Rows are added, never changed; (source, event_id) is unique for ever.

    Attributes:
        digest: of the event's content, to tell a repetition from a contradiction.
        cost_nano: by the price on arrival, in 10^-9 of the currency.
    """

    source = models.CharField(max_length=64)
    event_id = models.CharField(max_length=100)
    digest = models.CharField(max_length=64)
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="+", db_index=False)
    application = models.ForeignKey(Application, models.PROTECT, related_name="+", db_index=False)
    node = models.ForeignKey(Node, models.PROTECT, related_name="+", db_index=False)
    time = models.DateTimeField()
    received = models.DateTimeField()
    job = models.CharField(max_length=64)
    function = models.CharField(max_length=64)
    function_version = models.CharField(max_length=40)
    engine = models.CharField(max_length=40)
    status = models.CharField(max_length=16)
    bytes_in = models.BigIntegerField()
    bytes_out = models.BigIntegerField()
    engine_us = models.BigIntegerField()
    wall_us = models.BigIntegerField()
    attempt = models.IntegerField()
    cost_nano = models.BigIntegerField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("source", "event_id"), name="once_for_ever"),)
        indexes = (
            models.Index(fields=("organisation", "-time", "-id"), name="event_organisation"),
            models.Index(fields=("application", "time"), name="event_application"),
        )

    def __str__(self) -> str:
        return f"{self.source} {self.event_id}"


class UsageDay(models.Model):
    """Sums of one UTC day, application, function and node; can be made anew from the events at any time."""

    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="+", db_index=False)
    application = models.ForeignKey(Application, models.PROTECT, related_name="+", db_index=False)
    node = models.ForeignKey(Node, models.PROTECT, related_name="+", db_index=False)
    function = models.CharField(max_length=64)
    day = models.DateField()
    jobs = models.BigIntegerField()
    failed = models.BigIntegerField()
    bytes_in = models.BigIntegerField()
    bytes_out = models.BigIntegerField()
    engine_us = models.BigIntegerField()
    cost_nano = models.BigIntegerField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("application", "day", "function", "node"), name="one_sum"),)
        indexes = (models.Index(fields=("organisation", "day"), name="day_organisation"),)

    def __str__(self) -> str:
        return f"{self.day} {self.application} {self.function}"


class BudgetAlert(models.Model):
    """Somebody was told that a share of a month's budget is used; once a share and month."""

    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="alerts")
    month = models.DateField()
    percent = models.IntegerField()
    at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("organisation", "month", "percent"), name="told_once"),)

    def __str__(self) -> str:
        return f"{self.organisation} {self.month:%Y-%m} {self.percent} %"
