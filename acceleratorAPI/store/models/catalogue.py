"""Functions as the catalogue shows them: versions with their cards, prices and needs."""

from __future__ import annotations

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from acceleratorAPI.errors import StateError
from acceleratorAPI.store.models.accounts import Organisation

NANO = 10**9


class Function(models.Model):
    """A function by its name; the organisation that published it first owns the name."""

    name = models.CharField(max_length=64, unique=True, validators=[RegexValidator(r"^[a-z][a-z0-9_]*\Z")])
    owner = models.ForeignKey(Organisation, models.PROTECT, related_name="functions")
    created = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.name

    @property
    def published(self) -> FunctionVersion | None:
        """The version that people get: the one published last."""
        versions = self.versions.filter(state=FunctionVersion.State.PUBLISHED)
        return versions.order_by("-published", "-pk").first()


class FunctionVersion(models.Model):
    """One version.

    Attributes:
        card: a ``CatalogueEntry`` as JSON: title, description, limits and the schemas of its parameters.
        docs: its page, Markdown.
        unit: what is counted, for people: ``job``, ``GB``.
        price_job_nano: of a job, in 10^-9 of the currency.
        price_gb_nano: of 10^9 bytes in and out, likewise.
        requirements: ``{provider: {region: {"image", "instancetype", "fpgaimage"}}}``.
    """

    class State(models.TextChoices):
        """A draft is seen by its owner alone; a withdrawn one is kept for what was used."""

        DRAFT = "draft", "Draft"
        PUBLISHED = "published", "Published"
        WITHDRAWN = "withdrawn", "Withdrawn"

    function = models.ForeignKey(Function, models.CASCADE, related_name="versions")
    version = models.CharField(max_length=40)
    state = models.CharField(max_length=10, choices=State.choices, default=State.DRAFT)
    title = models.CharField(max_length=200)
    search = models.TextField(blank=True, editable=False)
    card = models.JSONField()
    docs = models.TextField(blank=True)
    unit = models.CharField(max_length=40, default="GB")
    price_job_nano = models.BigIntegerField(default=0, validators=[MinValueValidator(0)])
    price_gb_nano = models.BigIntegerField(default=0, validators=[MinValueValidator(0)])
    requirements = models.JSONField(default=dict, blank=True)
    created = models.DateTimeField(default=timezone.now, editable=False)
    published = models.DateTimeField(null=True, editable=False)

    _WAYS = frozenset({("draft", "published"), ("published", "withdrawn"), ("draft", "withdrawn")})

    class Meta:
        constraints = (models.UniqueConstraint(fields=("function", "version"), name="one_version"),)
        indexes = (models.Index(fields=("state", "function"), name="version_state"),)

    def __str__(self) -> str:
        return f"{self.function} {self.version}"

    def move_to(self, state: State) -> None:
        """Publish a draft, withdraw what is published; the same state again changes nothing.

        Raises:
            StateError: there is no way from here to there.
        """
        if state == self.state:
            return
        if (self.state, state) not in self._WAYS:
            raise StateError(f"{self} is {self.state}: it cannot become {state}; bring a new version")
        self.state = state
        if state == self.State.PUBLISHED:
            self.published = timezone.now()
        self.save(update_fields=["state", "published"])

    def cost_nano(self, bytes_moved: int) -> int:
        """What one job costs that read and wrote so many bytes, in 10^-9 of the currency, rounded down."""
        return self.price_job_nano + bytes_moved * self.price_gb_nano // NANO
