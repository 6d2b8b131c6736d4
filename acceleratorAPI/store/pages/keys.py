"""Access keys: make, rotate, revoke, limit."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from acceleratorAPI.store.models import Application, AuditEntry, Membership
from acceleratorAPI.store.models.catalogue import NANO
from acceleratorAPI.store.pages.context import member
from acceleratorAPI.store.pages.forms import NewKey, Quota


@member
def keys(request: HttpRequest, membership: Membership) -> HttpResponse:
    """The organisation's keys, and a form for one more."""
    form = NewKey(request.POST or None)
    if request.method == "POST":
        _may_change(membership)
        if form.is_valid():
            name, scopes = form.cleaned_data["name"], " ".join(form.cleaned_data["scopes"])
            application, secret = Application.make(membership.organisation, name, scopes)
            AuditEntry.note("key.new", request.user, membership.organisation, application.client_id, name=name)
            return _show_once(request, application, secret)
    rows = membership.organisation.applications.prefetch_related("secrets").order_by("revoked", "-created")
    return render(request, "store/keys.html", {"applications": rows, "form": form})


@member
def key(request: HttpRequest, membership: Membership, client_id: str) -> HttpResponse:
    """One key, with its quota."""
    application = _own(membership, client_id)
    size = application.quota_bytes
    gigabytes = None if size is None else f"{Decimal(size) / NANO:f}"
    initial = {"jobs": application.quota_jobs, "gigabytes": gigabytes}
    form = Quota(request.POST or None, initial=initial)
    if request.method == "POST":
        _may_change(membership)
        if form.is_valid():
            form.apply(application)
            limits = {"jobs": application.quota_jobs, "bytes": application.quota_bytes}
            AuditEntry.note("key.quota", request.user, membership.organisation, client_id, **limits)
            messages.success(request, "The quota is set; nodes know it with their next report.")
            return redirect("key", client_id)
    scopes = [settings.STORE_SCOPES[name] for name in application.scopes.split()]
    return render(request, "store/key.html", {"application": application, "scopes": scopes, "form": form})


@require_POST
@member
def rotate(request: HttpRequest, membership: Membership, client_id: str) -> HttpResponse:
    """A new secret; the old one goes on for a week."""
    _may_change(membership)
    application = _own(membership, client_id)
    if application.revoked:
        messages.error(request, "A revoked key stays revoked: make a new one.")
        return redirect("key", client_id)
    secret = application.rotate()
    AuditEntry.note("key.rotate", request.user, membership.organisation, client_id)
    return _show_once(request, application, secret)


@require_POST
@member
def revoke(request: HttpRequest, membership: Membership, client_id: str) -> HttpResponse:
    """The key is worth nothing from now on."""
    _may_change(membership)
    application = _own(membership, client_id)
    application.revoke()
    AuditEntry.note("key.revoke", request.user, membership.organisation, client_id)
    messages.success(request, f"{application} is revoked. Tokens that nodes hold end within ten minutes.")
    return redirect("keys")


def _show_once(request: HttpRequest, application: Application, secret: str) -> HttpResponse:
    response = render(request, "store/key_new.html", {"application": application, "secret": secret})
    response["Cache-Control"] = "no-store"
    return response


def _own(membership: Membership, client_id: str) -> Application:
    return get_object_or_404(Application, client_id=client_id, organisation=membership.organisation)


def _may_change(membership: Membership) -> None:
    if not membership.rights.may_change_keys:
        raise PermissionDenied("billing sees keys, and does not change them")
