"""Errors as ``application/problem+json`` (RFC 9457), with the codes of ``errors.py``."""

from __future__ import annotations

import logging
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI, Schema
from ninja.errors import AuthenticationError as NoCredentials
from ninja.errors import HttpError, Throttled, ValidationError

from acceleratorAPI.errors import AcceleratorError

log = logging.getLogger(__name__)
TYPE = "application/problem+json"


class Problem(Schema):
    """What went wrong, for a person in ``detail``, for a program in ``code``."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str


def problem(status: int, code: str, detail: str) -> HttpResponse:
    """An answer that says what went wrong."""
    body = Problem(title=code.replace("-", " "), status=status, detail=detail, code=code)
    answer = JsonResponse(body.model_dump(), status=status, content_type=TYPE)
    if status == 401:
        answer["WWW-Authenticate"] = 'Bearer realm="store"'
    if status == 429:
        answer["Retry-After"] = "60"
    return answer


def install(api: NinjaAPI) -> None:
    """Let every error of ``api`` become a problem."""

    def ours(request: HttpRequest, error: Any) -> HttpResponse:
        return problem(error.status, error.code, str(error))

    def wrong_input(request: HttpRequest, error: Any) -> HttpResponse:
        first = error.errors[0]
        where = ".".join(str(part) for part in first.get("loc", ()))
        return problem(422, "input", f"{where}: {first.get('msg', 'wrong')}")

    def not_found(request: HttpRequest, error: Any) -> HttpResponse:
        return problem(404, "not-found", "there is no such thing")

    def no_credentials(request: HttpRequest, error: Any) -> HttpResponse:
        return problem(401, "authentication", "send Authorization: Bearer TOKEN")

    def throttled(request: HttpRequest, error: Any) -> HttpResponse:
        return problem(429, "busy", "too many requests: try again in a minute")

    def http(request: HttpRequest, error: Any) -> HttpResponse:
        return problem(error.status_code, "input", str(error))

    api.exception_handler(AcceleratorError)(ours)
    api.exception_handler(ValidationError)(wrong_input)
    api.exception_handler(Http404)(not_found)
    api.exception_handler(NoCredentials)(no_credentials)
    api.exception_handler(Throttled)(throttled)
    api.exception_handler(HttpError)(http)
