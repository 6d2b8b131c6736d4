"""Sign up, and the reader's organisation: members, budget, audit log."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.views import LoginView, PasswordResetView
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST
from django_ratelimit.core import is_ratelimited

from acceleratorAPI.store import budgets
from acceleratorAPI.store.models import AuditEntry, Membership, Organisation, Role, User
from acceleratorAPI.store.models.catalogue import NANO
from acceleratorAPI.store.pages.context import SESSION_KEY, member
from acceleratorAPI.store.pages.forms import Budget, NewMember, SignIn, SignUp

_BACKEND = "django.contrib.auth.backends.ModelBackend"
_SHOWN_ENTRIES = 50


class SignInPage(LoginView):
    """Sign in; django-axes counts the failures."""

    template_name = "store/sign_in.html"
    authentication_form = SignIn
    redirect_authenticated_user = True


class PasswordPage(PasswordResetView):
    """A link for a new password, by mail; so many an hour that nobody's box is filled from here."""

    def form_valid(self, form: Any) -> HttpResponse:
        """Send it."""
        if is_ratelimited(self.request, group="password", key="ip", rate="10/h", increment=True):
            form.add_error(None, "Too many mails from here: try again in an hour.")
            return self.form_invalid(form)
        return super().form_valid(form)


def sign_up(request: HttpRequest) -> HttpResponse:
    """Make an account with its organisation, and sign in."""
    if not settings.STORE_SIGN_UP:
        raise PermissionDenied("accounts are made by the operator of this store")
    form = SignUp(request.POST or None)
    if request.method == "POST" and is_ratelimited(request, group="sign-up", key="ip", rate="10/h", increment=True):
        form.add_error(None, "Too many accounts from here: try again in an hour.")
    elif request.method == "POST" and form.is_valid():
        with transaction.atomic():
            user = form.save()
            organisation = Organisation.found(form.cleaned_data["organisation"], user)
            AuditEntry.note("account.new", user, organisation, user.email)
        login(request, user, _BACKEND)
        return redirect("keys")
    return render(request, "store/sign_up.html", {"form": form})


@member
def organisation(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Members, budget, audit log."""
    own = membership.organisation
    amount = None if own.budget_nano is None else f"{own.budget_nano / NANO:.2f}"
    return render(
        request,
        "store/organisation.html",
        {
            "members": own.memberships.select_related("user").order_by("user__email"),
            "mine": Membership.objects.filter(user=membership.user).select_related("organisation"),
            "entries": own.audit.order_by("-at", "-pk")[:_SHOWN_ENTRIES],
            "budget_form": Budget(initial={"amount": amount}),
            "member_form": NewMember(),
            "spent_nano": budgets.spent_nano(own),
        },
    )


@require_POST
@member
def budget(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Set the budget."""
    if not membership.rights.may_change_budget:
        raise PermissionDenied("only owners and billing set the budget")
    form = Budget(request.POST)
    if form.is_valid():
        form.apply(membership.organisation)
        AuditEntry.note("budget.set", request.user, membership.organisation, str(form.cleaned_data["amount"]))
        budgets.watch(membership.organisation)
        messages.success(request, "The budget is set.")
    else:
        messages.error(request, "The budget must be an amount such as 250.00.")
    return redirect("organisation")


@require_POST
@member
def add_member(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Let somebody in, or change their role."""
    _owner(membership)
    form = NewMember(request.POST)
    found = User.objects.filter(email=User.normal_email(request.POST.get("email", "").replace("\0", ""))).first()
    if not form.is_valid() or found is None:
        # Whether an address has an account is what an invitation would tell too.
        messages.error(request, "Nobody of that address has an account: ask them to sign up first.")
        return redirect("organisation")
    role = form.cleaned_data["role"]
    if role != Role.OWNER and _is_last_owner(membership.organisation, found):
        messages.error(request, "An organisation needs an owner.")
        return redirect("organisation")
    Membership.objects.update_or_create(organisation=membership.organisation, user=found, defaults={"role": role})
    AuditEntry.note("member.set", request.user, membership.organisation, found.email, role=role)
    messages.success(request, f"{found.email} has the role {role}.")
    return redirect("organisation")


@require_POST
@member
def remove_member(request: HttpRequest, membership: Membership, number: int) -> HttpResponse:
    """Somebody leaves."""
    _owner(membership)
    other = get_object_or_404(Membership, pk=number, organisation=membership.organisation)
    if _is_last_owner(membership.organisation, other.user):
        messages.error(request, "An organisation needs an owner.")
        return redirect("organisation")
    other.delete()
    AuditEntry.note("member.remove", request.user, membership.organisation, other.user.email)
    messages.success(request, f"{other.user.email} has left.")
    return redirect("organisation")


@require_POST
@member
def choose(request: HttpRequest, membership: Membership, organisation: uuid.UUID) -> HttpResponse:
    """Look at another organisation of one's own."""
    chosen = get_object_or_404(Membership, organisation_id=organisation, user=membership.user)
    request.session[SESSION_KEY] = str(chosen.organisation_id)
    return redirect("organisation")


def _owner(membership: Membership) -> None:
    if membership.rights is not Role.OWNER:
        raise PermissionDenied("only owners change members")


def _is_last_owner(organisation: Organisation, user: User) -> bool:
    owners = list(organisation.memberships.filter(role=Role.OWNER).values_list("user_id", flat=True))
    return owners == [user.pk]
