"""The store as a client sees it: an access key for a short-lived token, and what functions need."""

from __future__ import annotations

import threading
import time
from typing import Any
from urllib.parse import quote, urlsplit

import urllib3
from pydantic import ValidationError

from acceleratorAPI.config import Configuration, mask
from acceleratorAPI.errors import AuthenticationError, ConfigurationError, StoreUnreachableError
from acceleratorAPI.protocol.usage import BATCH_TYPE, BatchAnswer, SignedReport

_TIMEOUT = urllib3.Timeout(connect=10, read=30)
# A token is renewed so long before its end: what it is for may take a while to arrive.
_MARGIN_S = 60.0
_WHERE = "check [accelize] client_id and secret_id, and the keys page of the store"


class StoreClient:
    """One access key of one store. Safe to use from several threads."""

    def __init__(self, url: str, client_id: str, secret: str) -> None:
        """Connect on first use.

        Raises:
            ConfigurationError: the URL is none, or would carry the secret in the clear off this machine.
        """
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        local = parts.hostname in ("127.0.0.1", "localhost", "::1")
        if parts.hostname is None or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
            raise ConfigurationError(f"[accelize] url = {url!r}: use a URL like https://store.example.org")
        self.client_id = client_id
        self._secret = secret
        self._http = urllib3.PoolManager(timeout=_TIMEOUT, retries=urllib3.Retry(2, redirect=0, backoff_factor=0.2))
        self._lock = threading.Lock()
        self._token, self._good_until = "", 0.0

    @classmethod
    def of(cls, settings: Configuration) -> StoreClient | None:
        """That of ``[accelize]``; ``None`` when no store is configured.

        Raises:
            ConfigurationError: a store is named, but not the access key for it.
        """
        url = settings.get("accelize", "url")
        if not url:
            return None
        client_id, secret = settings.get("accelize", "client_id"), settings.get("accelize", "secret_id")
        for name, argument, value in (
            ("client_id", "xlz_client_id", client_id),
            ("secret_id", "xlz_secret_id", secret),
        ):
            if not value:
                raise ConfigurationError(
                    f"[accelize] url names the store {url}, but {name} is not set: set it, or give {argument}"
                )
        return cls(url, client_id, secret)

    def __repr__(self) -> str:
        return f"StoreClient({self.url!r}, {self.client_id!r}, {mask(self._secret)!r})"

    def token(self) -> str:
        """An access token that is good for a minute at least; asked for only when the last one is not.

        Raises:
            AuthenticationError: the store does not take the access key.
            StoreUnreachableError: it does not answer.
        """
        with self._lock:
            if time.monotonic() >= self._good_until:
                answer = self._new_token()
                self._token = str(answer["access_token"])
                self._good_until = time.monotonic() + float(answer.get("expires_in", 600)) - _MARGIN_S
            return self._token

    def requirements(self) -> dict[str, dict[str, dict[str, Any]]]:
        """What functions need: ``{provider: {function: {region: {"image", "instancetype", "fpgaimage"}}}}``.

        Raises:
            AuthenticationError: as for ``token``.
            StoreUnreachableError: likewise.
        """
        found: dict[str, dict[str, dict[str, Any]]] = self.get("/auth/getlastcspconfiguration/")
        return found

    def get(self, path: str) -> Any:
        """The JSON at ``path``.

        Raises:
            AuthenticationError: as for ``token``.
            StoreUnreachableError: likewise.
        """
        return self.request("GET", path)

    def report(self, report: SignedReport) -> BatchAnswer:
        """Bring what a node has signed; the access key plays no part in it.

        Raises:
            AuthenticationError: the store does not know the node.
            ConfigurationError: it refuses what was sent.
            StoreUnreachableError: it does not answer, or not in words of ours.
        """
        headers = {"Authorization": f"Bearer {report.signature}", "Content-Type": BATCH_TYPE}
        answer = self._send("POST", "/api/v1/usage", headers, body=report.body.encode())
        try:
            return BatchAnswer.model_validate(self._accepted(answer))
        except ValidationError as error:
            raise StoreUnreachableError(f"{self.url} does not answer as a store does; is it one?") from error

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that ``method`` at ``path`` answers.

        Raises:
            AuthenticationError: the store does not take the access key, or not for this.
            ConfigurationError: it refuses what was sent.
            StoreUnreachableError: it does not answer, or not in words of ours.
        """
        return self._accepted(self._send(method, path, {"Authorization": f"Bearer {self.token()}"}, json=body))

    def _accepted(self, answer: urllib3.BaseHTTPResponse) -> Any:
        if answer.status in (401, 403):
            raise AuthenticationError(f"the store {self.url} refuses: {_detail(answer)}")
        if answer.status >= 500 or answer.status == 429:
            raise StoreUnreachableError(f"the store {self.url} has trouble ({answer.status}): try again later")
        if answer.status >= 400:
            raise ConfigurationError(f"the store {self.url} refuses: {_detail(answer)}")
        return self._parsed(answer)

    def _new_token(self) -> dict[str, Any]:
        pair = f"{quote(self.client_id, safe='')}:{quote(self._secret, safe='')}"
        headers = urllib3.make_headers(basic_auth=pair)
        answer = self._send("POST", "/o/token/", dict(headers), fields={"grant_type": "client_credentials"})
        if answer.status in (400, 401, 403):
            raise AuthenticationError(
                f"Could not authenticate with the store {self.url} as client id {self.client_id!r}: {_WHERE}"
            )
        values = self._parsed(answer) if answer.status == 200 else None
        if not isinstance(values, dict) or "access_token" not in values:
            raise StoreUnreachableError(f"the store {self.url} gave no token ({answer.status}): try again later")
        return values

    def _send(self, method: str, path: str, headers: dict[str, str], **content: Any) -> urllib3.BaseHTTPResponse:
        try:
            if "fields" in content:
                content["encode_multipart"] = False
            return self._http.request(method, self.url + path, headers=headers, **content)
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise StoreUnreachableError(f"the store {self.url} does not answer: {_short(reason)}") from None

    def _parsed(self, answer: urllib3.BaseHTTPResponse) -> Any:
        try:
            return answer.json()
        except ValueError:
            raise StoreUnreachableError(f"what answers at {self.url} is no store: check [accelize] url") from None


def _short(reason: object) -> str:
    """The end of urllib3's sentence, which names objects first."""
    return " ".join(str(reason).split()).rpartition(": ")[2][:200]


def _detail(answer: urllib3.BaseHTTPResponse) -> str:
    try:
        values = answer.json()
        return " ".join(str(values.get("detail") or values.get("error_description") or answer.status).split())[:300]
    except (ValueError, AttributeError):
        return str(answer.status)
