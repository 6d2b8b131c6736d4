"""Who calls: an application by its access token, or a node by what it signs."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from ninja.security import HttpBearer
from oauth2_provider.models import AccessToken

from acceleratorAPI.errors import AuthenticationError, PermissionDeniedError
from acceleratorAPI.protocol.usage import OLDEST_S
from acceleratorAPI.store.models import Application, Node

# A clock may go wrong by so much.
_LEEWAY_S = 300
# A report may have waited for the store on its user's machine. Its events count once for ever, so that an old
# signature, which is of this one body alone, is worth nothing to anybody else.
_LONGEST_S = OLDEST_S


class ApplicationToken(HttpBearer):
    """``Authorization: Bearer`` with a token of ``/o/token/`` that allows ``scope``."""

    openapi_description = "An access token of POST /o/token/."

    def __init__(self, scope: str) -> None:
        super().__init__()
        self._scope = scope

    def authenticate(self, request: HttpRequest, token: str) -> Application:
        """Its application; looked up, so that a revoked token is worth nothing at once.

        Raises:
            AuthenticationError: it is unknown, expired or revoked.
            PermissionDeniedError: it does not allow this.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
        found = AccessToken.objects.select_related("application__organisation").filter(token_checksum=digest).first()
        if found is None or found.is_expired() or found.application is None or found.application.revoked:
            raise AuthenticationError("the access token is unknown, expired or revoked: get a new one at /o/token/")
        if not found.allow_scopes([self._scope]):
            raise PermissionDeniedError(
                f"this access token allows {found.scope}, and this request needs {self._scope}: make a key with"
                f" “{settings.STORE_SCOPES[self._scope]}” on the keys page"
            )
        application: Application = found.application
        return application


class NodeSignature(HttpBearer):
    """``Authorization: Bearer`` with a JWT that a registered node signed (EdDSA), and that names the body's digest."""

    openapi_description = "A JWT signed by a registered node: iss its id, aud this store, sha256 the body's digest."

    def authenticate(self, request: HttpRequest, token: str) -> Node:
        """The node.

        Raises:
            AuthenticationError: it is not registered, or this is not its signature of this body, or too old.
        """
        refusal = AuthenticationError("this is no signature of a registered node over this request")
        try:
            claims, node = _checked(token)
        except (JoseError, ValueError, KeyError, TypeError, Node.DoesNotExist):
            raise refusal from None
        if not hmac.compare_digest(str(claims.get("sha256")), hashlib.sha256(request.body).hexdigest()):
            raise refusal
        return node


def _checked(token: str) -> tuple[dict[str, Any], Node]:
    from joserfc.jws import extract_compact

    header = extract_compact(token.encode("ascii")).headers()
    node = Node.objects.get(pk=uuid.UUID(str(header["kid"])))
    claims = jwt.decode(token, OKPKey.import_key(node.public_key), algorithms=["EdDSA", "Ed25519"]).claims
    registry = jwt.JWTClaimsRegistry(
        leeway=_LEEWAY_S,
        iss={"essential": True, "value": str(node.id)},
        aud={"essential": True, "value": settings.STORE_URL},
        iat={"essential": True},
        exp={"essential": True},
    )
    registry.validate(claims)
    if claims["exp"] - claims["iat"] > _LONGEST_S:
        raise ValueError("lives too long")
    return claims, node
