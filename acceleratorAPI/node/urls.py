"""The absolute URLs of answers, and the configuration a request names by one."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.requests import Request

from acceleratorAPI.errors import InputError
from acceleratorAPI.node.settings import is_loopback
from acceleratorAPI.protocol import paths

_HOST = re.compile(r"[0-9A-Za-z._\-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_PREFIX = re.compile(r"(/[0-9A-Za-z._~\-]+)*")
_CONFIGURATION = re.compile(rf"(?:.*{re.escape(paths.CONFIGURATION)})?(\d{{1,18}})/?", re.DOTALL)


class Urls:
    """Builds URLs as the client of a request sees this node."""

    def __init__(self, public_url: str | None, own_url: str) -> None:
        """Args:
        public_url: beats everything else.
        own_url: for requests that do not say how they came here.
        """
        self._public_url = public_url
        self._own_url = own_url

    @property
    def public_host(self) -> str | None:
        """The host name of the public URL."""
        return None if self._public_url is None else urlsplit(self._public_url).hostname

    def base(self, request: Request) -> str:
        """``scheme://host[:port][/prefix]``. Forwarding headers count only from a proxy on this machine."""
        if self._public_url is not None:
            return self._public_url
        headers = request.headers
        scheme, host, prefix = request.url.scheme, headers.get("host", ""), ""
        if request.client is not None and is_loopback(request.client.host):
            scheme = _first(headers.get("x-forwarded-proto")) or scheme
            host = _first(headers.get("x-forwarded-host")) or host
            prefix = _first(headers.get("x-forwarded-prefix")).rstrip("/")
        if scheme not in ("http", "https") or not _is_host(host):
            return self._own_url
        return f"{scheme}://{host}{prefix if _PREFIX.fullmatch(prefix) else ''}"


def _is_host(text: str) -> bool:
    """Whether it can stand in a URL: also its port and its address are looked at."""
    try:
        return _HOST.fullmatch(text) is not None and urlsplit(f"//{text}").port != 0
    except ValueError:
        return False


def _first(value: str | None) -> str:
    """What the proxy nearest to the client wrote."""
    return (value or "").partition(",")[0].strip()


def configuration_id(reference: str) -> int:
    """The id in the URL, path or bare id by which a request names a configuration.

    Raises:
        InputError: it is none of them.
    """
    text = reference.strip()
    try:
        match = _CONFIGURATION.fullmatch(urlsplit(text).path if "/" in text else text)
    except ValueError:  # a bracket that belongs to no address
        match = None
    if match is None:
        raise InputError(f"configuration = {reference[:200]!r}: use the url or id a configuration was answered with")
    return int(match[1])
