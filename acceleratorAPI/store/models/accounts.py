"""People, and the organisations whose keys and usage they share."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar, Self

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.utils import timezone


class UserManager(BaseUserManager["User"]):
    """Makes users by their e-mail address."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A person; no password means that nobody can sign in as them."""
        user = self.model(email=self.model.normal_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """An operator, who may use the admin pages."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> User:
        """By address, as it is stored."""
        return self.get(email=self.model.normal_email(username or ""))


class User(AbstractBaseUser, PermissionsMixin):  # type: ignore[django-manager-missing]  # Application's base has no types
    """A person, known by their e-mail address."""

    email = models.EmailField("e-mail address", unique=True)
    name = models.CharField(max_length=120, blank=True)
    is_staff = models.BooleanField("operator", default=False, help_text="May use the admin pages.")
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=timezone.now)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects: ClassVar[UserManager] = UserManager()

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        """One spelling an address, so that nobody has two accounts by capitals alone."""
        super().clean()
        self.email = self.normal_email(self.email)

    @staticmethod
    def normal_email(email: str) -> str:
        """The spelling an address is stored in."""
        return email.strip().lower()


class Organisation(models.Model):  # type: ignore[django-manager-missing]  # Application's base has no types
    """Who owns keys, functions and usage. Everybody has one of their own from the start.

    Attributes:
        budget_nano: what a month may cost before people are told, in 10^-9 of the currency; ``None`` for no budget.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    created = models.DateTimeField(default=timezone.now, editable=False)
    budget_nano = models.BigIntegerField(null=True, blank=True)
    members: models.ManyToManyField[User, Membership] = models.ManyToManyField(
        User, through="Membership", related_name="organisations"
    )

    def __str__(self) -> str:
        return self.name

    @classmethod
    def found(cls, name: str, owner: User) -> Self:
        """A new one with its first member."""
        organisation = cls.objects.create(name=name)
        Membership.objects.create(organisation=organisation, user=owner, role=Role.OWNER)
        return organisation


class Role(models.TextChoices):
    """What a member may do."""

    OWNER = "owner", "Owner: keys, budget, members, usage"
    BILLING = "billing", "Billing: usage and budget"
    MEMBER = "member", "Member: keys and usage"

    @property
    def may_change_keys(self) -> bool:
        """Make, rotate and revoke access keys."""
        return self in (Role.OWNER, Role.MEMBER)

    @property
    def may_change_budget(self) -> bool:
        """Set the budget."""
        return self in (Role.OWNER, Role.BILLING)


class Membership(models.Model):
    """A person in an organisation."""

    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("organisation", "user"), name="one_membership"),)

    def __str__(self) -> str:
        return f"{self.user} in {self.organisation}"

    @property
    def rights(self) -> Role:
        """The role as such."""
        return Role(self.role)
