"""What people may fill in."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm, UserCreationForm

from acceleratorAPI.store.models import Application, Organisation, Role, User
from acceleratorAPI.store.models.catalogue import NANO


class _Styled(forms.Form):
    """Inputs that Bulma knows, and that say which message is theirs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            if isinstance(field.widget, forms.TextInput | forms.NumberInput | forms.PasswordInput | forms.EmailInput):
                field.widget.attrs["class"] = "input"


class SignIn(_Styled, AuthenticationForm):
    """By e-mail address."""


class SignUp(_Styled, UserCreationForm[User]):
    """A new account, with an organisation of its own."""

    organisation = forms.CharField(max_length=120, help_text="Your company or team: keys and usage belong to it.")

    class Meta:
        model = User
        fields = ("email", "name")
        widgets = {"email": forms.EmailInput(attrs={"autocomplete": "username"})}  # noqa: RUF012 - as Django has it

    def clean_email(self) -> str:
        """One account an address."""
        email = User.normal_email(self.cleaned_data["email"])
        if User.objects.filter(email=email).exists():
            raise forms.ValidationError("There is an account of this address: sign in, or set a new password.")
        return email


class NewKey(_Styled):
    """A new access key."""

    name = forms.CharField(max_length=100, help_text="What uses it, such as “nightly backup”.")
    scopes = forms.MultipleChoiceField(
        choices=[*settings.STORE_SCOPES.items()],
        initial=["process", "usage:read"],
        widget=forms.CheckboxSelectMultiple,
        label="It may",
    )


class Quota(_Styled):
    """How much an application may use a month."""

    jobs = forms.IntegerField(min_value=0, max_value=2**62, required=False, label="Jobs a month")
    gigabytes = forms.DecimalField(
        min_value=0, max_value=10**9, required=False, label="GB a month, in and out", decimal_places=3
    )

    def apply(self, application: Application) -> None:
        """Write it; empty means any amount."""
        size: Decimal | None = self.cleaned_data["gigabytes"]
        application.quota_jobs = self.cleaned_data["jobs"]
        application.quota_bytes = None if size is None else int(size * NANO)
        application.save(update_fields=["quota_jobs", "quota_bytes"])


class Budget(_Styled):
    """What a month may cost before people are told."""

    amount = forms.DecimalField(
        min_value=0, max_value=10**9, decimal_places=2, required=False, label="Budget a month",
        help_text="At 50, 80 and 100 % owners and billing get an e-mail. Empty for none.",
    )  # fmt: skip

    def apply(self, organisation: Organisation) -> None:
        """Write it."""
        amount: Decimal | None = self.cleaned_data["amount"]
        organisation.budget_nano = None if amount is None else int(amount * NANO)
        organisation.save(update_fields=["budget_nano"])


class NewMember(_Styled):
    """Somebody who has an account joins."""

    email = forms.EmailField(label="E-mail address")
    role = forms.ChoiceField(choices=Role.choices, initial=Role.MEMBER)
