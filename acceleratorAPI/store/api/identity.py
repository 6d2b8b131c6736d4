"""Who an access token is."""

from __future__ import annotations

from django.http import HttpRequest
from ninja import Router, Schema

from acceleratorAPI.store import quotas
from acceleratorAPI.store.api.access import ApplicationToken
from acceleratorAPI.store.api.problems import Problem
from acceleratorAPI.store.models import Application

router = Router(tags=["identity"])


class Identity(Schema):
    """An application, its organisation and what it may still use this month."""

    client_id: str
    name: str
    organisation: str
    organisation_id: str
    quota: quotas.Quota


@router.get("/me", auth=ApplicationToken("process"), response={200: Identity, 401: Problem, 403: Problem})
def me(request: HttpRequest) -> Identity:
    """The application whose token this is."""
    application: Application = request.auth  # type: ignore[attr-defined]
    return Identity(
        client_id=application.client_id,
        name=application.name,
        organisation=application.organisation.name,
        organisation_id=str(application.organisation_id),
        quota=quotas.left(application),
    )
