"""URLs as names of files: which texts are some, what they name, and how they may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

from acceleratorAPI.errors import InputError, nearest

WebScheme = Literal["https", "http"]
ObjectScheme = Literal["s3", "gs"]

SCHEMES = ("https", "http", "s3", "gs", "file")
_PORTS: dict[str, int] = {"https": 443, "http": 80}

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
# Stricter than any standard, so that no two readers can understand a URL differently: printable ASCII, no user, no
# backslash, no fragment.
_WEB = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>(?:[/?][\x21-\x7e]*)?)",
    re.IGNORECASE,
)
_OBJECT = re.compile(r"(?P<scheme>s3|gs)://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._\-]{1,220}[A-Za-z0-9])/(?P<key>.+)")
_UNFIT_KEY = re.compile(r"[\x00-\x1f\x7f?#]|/$|^/|//")

_ANY_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.\-]*://[^\s\"'<>]+")
# A password may have slashes that somebody forgot to encode: "user:pass/word@" counts as one, "host:80/@x" does not.
_USER = re.compile(r"(?<=://)(?:[^/?#@:\s]*:(?![0-9]*[/?#])[^?#\s]*|[^/?#\s]*)@")
_SECRET_VALUE = re.compile(
    r"([?&;][^=&;#]*(?:signature|sig|token|credential|secret|key|passw|policy|auth)[^=&;#]*=)[^&;#\s\"'<>]+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class WebUrl:
    """An ``http(s)`` URL taken apart. Its ``repr`` holds no secret: the query of a signed URL is one.

    Attributes:
        scheme: in lower case.
        host: in lower case; an IPv6 address without brackets.
        port: as given, or the scheme's own.
        target: path and query, as they are sent.
    """

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)

    @property
    def origin(self) -> str:
        """Scheme, host and port, the latter when it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")

    def __str__(self) -> str:
        return self.origin + self.target


@dataclass(frozen=True, slots=True)
class ObjectUrl:
    """An object in a bucket of an object store."""

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"


Remote = WebUrl | ObjectUrl


def is_url(text: str) -> bool:
    """Whether ``text`` names a file by a URL; ``./s3://x`` is a path."""
    return _URL.match(text) is not None


def parse(text: str) -> Remote:
    """What a URL names; a ``file`` URL names no remote file and is none of these.

    Raises:
        InputError: it is malformed, or has a scheme that is not known here.
    """
    match = _URL.match(text)
    scheme = match[1].lower() if match else ""
    if scheme in _PORTS:
        return _web(text)
    if scheme in ("s3", "gs"):
        return _object(text)
    raise InputError(f"{shown(text)!r}: no such kind of URL is known here; {nearest(scheme, SCHEMES)}")


def file_path(text: str) -> str | None:
    """The path a ``file`` URL names; ``None`` for anything else.

    Raises:
        InputError: it names another machine, or has a query.
    """
    if not text.lower().startswith("file://"):
        return None
    parts = urlsplit(text)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or "\0" in path or not path:
        raise InputError(f"{shown(text)!r}: use file:///absolute/path")
    return path


def shown(url: str) -> str:
    """A URL as messages, records and logs may hold it: without user, query and fragment; other text as it is."""
    if not is_url(url):
        return url
    return re.split(r"[?#]", _USER.sub("", url, count=1), maxsplit=1)[0]


def without_secrets(text: str) -> str:
    """``text`` in which every URL has lost its user, and its query the values that look like secrets."""
    if "://" not in text:
        return text
    return _ANY_URL.sub(lambda match: _SECRET_VALUE.sub(r"\1***", _USER.sub("***@", match[0], count=1)), text)


def _web(text: str) -> WebUrl:
    match = _WEB.fullmatch(text)
    if match is None or "#" in match["target"] or "\\" in match["target"]:
        raise InputError(f"{shown(text)!r}: {_web_fault(text)}")
    scheme = match["scheme"].lower()
    port = int(match["port"] or _PORTS[scheme])
    if not 1 <= port <= 65535:
        raise InputError(f"{shown(text)!r}: there is no port {port}")
    target = match["target"]
    return WebUrl(scheme, match["host"].strip("[]").lower(), port, target if target.startswith("/") else f"/{target}")


def _web_fault(text: str) -> str:
    authority = re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]
    if "@" in authority:
        return "a URL with a user or password is not taken; use a pre-signed URL"
    if not re.fullmatch(r"[\x21-\x7e]*", text) or "\\" in text:
        return "spaces, backslashes, control and other characters must be percent-encoded, names of hosts in ASCII"
    if "#" in text:
        return "leave the part from # on out"
    return "the host is malformed; use https://host[:port]/path"


def _object(text: str) -> ObjectUrl:
    match = _OBJECT.fullmatch(text[:2].lower() + text[2:])
    if match is None or _UNFIT_KEY.search(match["key"]):
        raise InputError(
            f"{shown(text)!r}: use {text[:2].lower()}://bucket/key, the key without ? and #, and without a / at its end"
        )
    return ObjectUrl(match["scheme"], match["bucket"], match["key"])
