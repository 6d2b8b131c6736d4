"""The OAuth2 endpoints: token, introspection, revocation, and the documents nodes and clients find them by."""

from __future__ import annotations

import hashlib
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET
from django_ratelimit.core import is_ratelimited
from joserfc.jwk import KeySet
from oauth2_provider.models import AccessToken
from oauth2_provider.settings import oauth2_settings
from oauth2_provider.views import IntrospectTokenView, RevokeTokenView, TokenView
from oauthlib.common import Request

from acceleratorAPI.store import metrics
from acceleratorAPI.store.models import Application

# Tries of an address that guesses; a client that keeps its token asks six times an hour.
TOKEN_RATE = "120/m"  # noqa: S105 - a rate, no secret
_KEYS_FOR_S = 300


def _too_many() -> HttpResponse:
    answer = JsonResponse(
        {"error": "slow_down", "error_description": "Too many requests: try again in a minute."}, status=429
    )
    answer["Retry-After"] = "60"
    return answer


@method_decorator(csrf_exempt, name="dispatch")
class Token(TokenView):  # type: ignore[misc]  # the library has no types
    """``POST /o/token/``: client credentials for a short-lived access token."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """RFC 6749, 4.4. Wrong credentials are 401 with ``invalid_client``."""
        if is_ratelimited(request, group="token", key="ip", rate=TOKEN_RATE, increment=True):
            return _too_many()
        if "client_secret" in request.GET:
            # Queries are written to logs on the way.
            return JsonResponse(
                {"error": "invalid_request", "error_description": "Send secrets in the body or header."}, status=400
            )
        response: HttpResponse = super().post(request, *args, **kwargs)
        metrics.TOKENS.labels(str(response.status_code)).inc()
        return response


class Introspect(IntrospectTokenView):  # type: ignore[misc]
    """``POST /o/introspect/``: what a token of the caller's own organisation allows (RFC 7662)."""

    http_method_names = ("post", "options")
    _caller: Application | None = None

    def authenticate_client(self, request: HttpRequest) -> bool:
        """By id and secret; who it was is kept."""
        core = self.get_oauthlib_core()
        inner = Request(*core._extract_params(request))
        good = bool(core.server.request_validator.authenticate_client(inner))
        self._caller = inner.client if good else None
        return good

    def verify_request(self, request: HttpRequest) -> tuple[bool, Any]:
        """By a token with the scope ``introspection``."""
        good, inner = super().verify_request(request)
        self._caller = inner.client if good else None
        return good, inner

    def _is_own(self, application: Application) -> bool:
        return self._caller is not None and self._caller.organisation_id == application.organisation_id

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Tokens of others are as unknown as made-up ones."""
        asked = request.POST.get("token")
        if asked is not None:
            digest = hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()
            token = AccessToken.objects.select_related("application").filter(token_checksum=digest).first()
            if token is None or not self._is_own(token.application):
                return JsonResponse({"active": False})
        return self.get_token_response(asked)  # type: ignore[no-any-return]


@method_decorator(csrf_exempt, name="dispatch")
class Revoke(RevokeTokenView):  # type: ignore[misc]
    """``POST /o/revoke_token/``: end one of the caller's own tokens (RFC 7009)."""


@require_GET
def jwks(request: HttpRequest) -> HttpResponse:
    """The public keys that check tokens."""
    answer = JsonResponse(KeySet(list(settings.STORE_SIGNING_KEYS)).as_dict(private=False))
    answer["Cache-Control"] = f"public, max-age={_KEYS_FOR_S}"
    return answer


@require_GET
def metadata(request: HttpRequest) -> HttpResponse:
    """RFC 8414."""
    base = settings.STORE_URL
    methods = ["client_secret_basic", "client_secret_post"]
    return JsonResponse(
        {
            "issuer": base,
            "token_endpoint": f"{base}/o/token/",
            "token_endpoint_auth_methods_supported": methods,
            "introspection_endpoint": f"{base}/o/introspect/",
            "introspection_endpoint_auth_methods_supported": methods,
            "revocation_endpoint": f"{base}/o/revoke_token/",
            "revocation_endpoint_auth_methods_supported": methods,
            "jwks_uri": f"{base}/.well-known/jwks.json",
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "scopes_supported": sorted(oauth2_settings.SCOPES),
        }
    )
