"""Whether the store lives, and its figures for Prometheus."""

from __future__ import annotations

import hmac

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from acceleratorAPI.errors import AuthenticationError, PermissionDeniedError
from acceleratorAPI.store import metrics
from acceleratorAPI.store.api.access import ApplicationToken
from acceleratorAPI.store.api.problems import problem
from acceleratorAPI.store.shop import csp_configuration


def live(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return JsonResponse({"status": "live"})


def ready(request: HttpRequest) -> HttpResponse:
    """The database answers too."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return JsonResponse({"status": "the database does not answer"}, status=503)
    return JsonResponse({"status": "ready"})


def prometheus(request: HttpRequest) -> HttpResponse:
    """The figures; with ``STORE_METRICS_TOKEN`` as bearer token, and to nobody without one."""
    wanted, given = settings.STORE_METRICS_TOKEN, request.headers.get("Authorization", "")
    if not wanted or not hmac.compare_digest(given.encode(), f"Bearer {wanted}".encode()):
        return problem(401, "authentication", "set STORE_METRICS_TOKEN and send it as bearer token")
    return HttpResponse(generate_latest(metrics.REGISTRY), content_type=CONTENT_TYPE_LATEST)


def last_csp_configuration(request: HttpRequest) -> HttpResponse:
    """``GET /auth/getlastcspconfiguration/``: what functions need, as clients of old ask for it."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    try:
        if kind.lower() != "bearer":
            raise AuthenticationError("send Authorization: Bearer TOKEN")
        ApplicationToken("process").authenticate(request, token.strip())
    except (AuthenticationError, PermissionDeniedError) as error:
        return problem(error.status, error.code, str(error))
    return JsonResponse(csp_configuration())
