"""What every page knows: the reader's organisation, and how the store is called."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

from acceleratorAPI.store.models import Membership

SESSION_KEY = "organisation"
P = ParamSpec("P")


def membership_of(request: HttpRequest) -> Membership | None:
    """The reader's place in the organisation they look at; it is read anew each time, so that lost rights are lost."""
    if not request.user.is_authenticated:
        return None
    mine = Membership.objects.filter(user=request.user).select_related("organisation").order_by("pk")
    chosen = request.session.get(SESSION_KEY)
    return (mine.filter(organisation_id=chosen).first() if chosen else None) or mine.first()


def member(
    view: Callable[Concatenate[HttpRequest, Membership, P], HttpResponseBase],
) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """Only for people who are signed in and belong to an organisation, which the view is given."""

    @wraps(view)
    def checked(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        membership = membership_of(request)
        if membership is None:
            raise PermissionDenied("you belong to no organisation")
        response = view(request, membership, *args, **kwargs)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return login_required(checked)  # type: ignore[return-value]  # a positional request, as Django calls it


def place(request: HttpRequest) -> dict[str, Any]:
    """For the templates."""
    membership = membership_of(request) if hasattr(request, "user") else None
    return {
        "membership": membership,
        "organisation": membership.organisation if membership else None,
        "store_url": settings.STORE_URL,
        "currency": settings.STORE_CURRENCY,
        "sign_up_open": settings.STORE_SIGN_UP,
    }
