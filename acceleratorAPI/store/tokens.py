"""Access tokens: short-lived JWTs that nodes check by the public keys alone."""

from __future__ import annotations

import secrets
import time
from typing import Any

from django.conf import settings
from joserfc import jwt

ALGORITHM = "ES256"


def access_token(request: Any, refresh_token: bool = False) -> str:
    """The token for an OAuth request whose client has shown itself (``ACCESS_TOKEN_GENERATOR``)."""
    application, now = request.client, int(time.time())
    key = settings.STORE_SIGNING_KEYS[0]
    claims = {
        "iss": settings.STORE_URL,
        "aud": settings.STORE_URL,
        "sub": application.client_id,
        "client_id": application.client_id,
        "org": str(application.organisation_id),
        "scope": " ".join(request.scopes),
        "iat": now,
        "exp": now + int(request.expires_in or 600),
        "jti": secrets.token_hex(16),
    }
    return jwt.encode({"alg": ALGORITHM, "kid": key.kid, "typ": "at+jwt"}, claims, key)
