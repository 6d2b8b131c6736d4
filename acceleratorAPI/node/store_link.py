"""The store as a node sees it: whose key a request shows, and where usage goes. HTTP and JOSE end here."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from acceleratorAPI.errors import AuthenticationError, ConfigurationError, StoreUnreachableError
from acceleratorAPI.files import replacing
from acceleratorAPI.node.settings import is_loopback
from acceleratorAPI.protocol.usage import BATCH_TYPE, BatchAnswer, QuotaLeft, SignedReport, UsageEvent

log = logging.getLogger(__name__)

_TIMEOUT_S = 15.0
_SIGNED_FOR_S = 300
_LEEWAY_S = 60
# A token that names an unknown key makes us ask for the keys, but not more often.
_KEYS_EVERY_S = 30.0


def check_url(url: str) -> str:
    """``url`` without its final slash.

    Raises:
        ConfigurationError: it is none, or secrets would travel in the clear.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url.rstrip("/")
    if parts.scheme == "http" and parts.hostname and is_loopback(parts.hostname):
        return url.rstrip("/")
    raise ConfigurationError(f"--store {url!r}: use a URL like https://store.example.org")


@dataclass(frozen=True, slots=True)
class Shown:
    """An application that has shown itself.

    Attributes:
        application: its client id.
        token: an access token of it.
    """

    application: str
    token: str


class StoreLink:
    """One store. Its public keys are kept on the disk, so that tokens are checked without it."""

    def __init__(self, url: str, keys_file: Path) -> None:
        """Nothing is asked yet.

        Args:
            url: checked by ``check_url``.
            keys_file: where its public keys are kept.
        """
        self.url = url
        self._keys_file = keys_file
        self._lock = threading.Lock()
        self._keys: Any = None
        self._asked = 0.0

    def shown(self, env: dict[str, Any]) -> Shown:
        """Whose key a request shows: by ``access_token``, or by ``client_id`` and ``client_secret``.

        Raises:
            AuthenticationError: nobody's, or the store does not take it.
            StoreUnreachableError: the store is needed to tell, and does not answer.
        """
        token = env.get("access_token")
        if not token:
            token = self._token_for(env.get("client_id"), env.get("client_secret"))
        if not isinstance(token, str):
            raise AuthenticationError("Could not authenticate: env.access_token is not text")
        return Shown(self._application(token), token)

    def register(self, token: str, node: str, key: OKPKey, facts: dict[str, str]) -> QuotaLeft:
        """Tell the store that this node reports for the token's application; what that one may use."""
        body = {"id": node, "public_key": key.as_dict(private=False), **facts}
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer = self._ask("/api/v1/nodes", json.dumps(body).encode(), headers)
        return QuotaLeft.model_validate(answer["quota"])

    def report(self, node: str, key: OKPKey, events: list[UsageEvent]) -> BatchAnswer:
        """Send events, signed."""
        report = self.signed(node, key, events, _SIGNED_FOR_S)
        headers = {"Authorization": f"Bearer {report.signature}", "Content-Type": BATCH_TYPE}
        return BatchAnswer.model_validate(self._ask("/api/v1/usage", report.body.encode(), headers))

    def signed(self, node: str, key: OKPKey, events: list[UsageEvent], good_for_s: int) -> SignedReport:
        """Events, signed for the store, whoever brings them there."""
        body = json.dumps([event.model_dump(mode="json") for event in events])
        now = int(time.time())
        claims = {
            "iss": node,
            "aud": self.url,
            "iat": now,
            "exp": now + good_for_s,
            "sha256": hashlib.sha256(body.encode()).hexdigest(),
        }
        signature = jwt.encode({"alg": "Ed25519", "kid": node}, claims, key, algorithms=["Ed25519"])
        return SignedReport(store=self.url, body=body, signature=signature)

    def _token_for(self, client_id: Any, secret: Any) -> Any:
        if not (isinstance(client_id, str) and client_id and isinstance(secret, str) and secret):
            raise AuthenticationError(
                f"Could not authenticate: this node counts usage for the store {self.url}; send env.access_token, or"
                " env.client_id and env.client_secret of an access key"
            )
        fields = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("/o/token/", urlencode(fields).encode(), headers).get("access_token")

    def _application(self, token: str) -> str:
        refusal = AuthenticationError("Could not authenticate: this is no access token of the store, or it has ended")
        claims: dict[str, Any] = {}
        for fresh in (False, True):
            try:
                claims = jwt.decode(token, self._key_set(fresh=fresh), algorithms=["ES256"]).claims
                break
            except (JoseError, ValueError, TypeError, KeyError):
                if fresh:
                    raise refusal from None
        try:
            registry = jwt.JWTClaimsRegistry(
                leeway=_LEEWAY_S,
                iss={"essential": True, "value": self.url},
                aud={"essential": True, "value": self.url},
                exp={"essential": True},
            )
            registry.validate(claims)
            allowed, application = str(claims["scope"]).split(), str(claims["client_id"])
        except (JoseError, ValueError, KeyError):
            raise refusal from None
        if "process" not in allowed:
            raise AuthenticationError(f"Could not authenticate: the access key {application} may not use functions")
        return application

    def _key_set(self, *, fresh: bool) -> Any:
        """The store's public keys: those at hand, or ``fresh`` ones, when they are not of this very moment."""
        with self._lock:
            if self._keys is None and self._keys_file.exists():
                self._keys = KeySet.import_key_set(json.loads(self._keys_file.read_bytes()))
            due = time.monotonic() - self._asked > _KEYS_EVERY_S or not self._asked
            if self._keys is None or (fresh and due):
                self._asked = time.monotonic()
                try:
                    values = self._ask("/.well-known/jwks.json", None, {})
                    self._keys = KeySet.import_key_set(values)  # type: ignore[arg-type]  # checked there
                except StoreUnreachableError:
                    if self._keys is None:
                        raise
                else:
                    with replacing(self._keys_file) as file:
                        file.write(json.dumps(values).encode())
            return self._keys

    def _ask(self, path: str, body: bytes | None, headers: dict[str, str]) -> dict[str, Any]:
        """The JSON object that ``path`` answers.

        Raises:
            AuthenticationError: the store refuses.
            StoreUnreachableError: it does not answer, or not in words of ours.
        """
        request = urllib.request.Request(self.url + path, body, headers)  # noqa: S310 - its scheme is checked
        try:
            with _OPENER.open(request, timeout=_TIMEOUT_S) as answer:
                values = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                if error.code < 500 and error.code != 429:
                    raise AuthenticationError(
                        f"Could not authenticate: the store {self.url} refuses ({error.code}): {_detail(error)}"
                    ) from None
            raise StoreUnreachableError(f"the store {self.url} has trouble ({error.code}): try again later") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise StoreUnreachableError(f"the store {self.url} does not answer: {reason}") from None
        if not isinstance(values, dict):
            raise StoreUnreachableError(f"what answers at {self.url} is no store")
        return values


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Credentials go where they were meant to go."""

    def redirect_request(self, *args: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        values = json.loads(error.read(65536))
        return " ".join(str(values.get("detail") or values.get("error_description") or values.get("error")).split())
    except (ValueError, AttributeError, OSError):
        return "without a reason"
