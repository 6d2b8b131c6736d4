"""Bearer tokens as the two sides know them: the client the token, the node its digest with what it allows."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Literal, get_args

from pydantic import BaseModel

# The node's file of digests; whoever makes an instance may write the first one.
TOKENS_FILE = "tokens.json"

Scope = Literal["configure", "process", "read", "stop", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


class TokenRecord(BaseModel):
    """A token at rest.

    Attributes:
        id: names it to people; no secret.
        digest: SHA-256 in hex. A token is 256 random bits: nothing slower is needed, nobody can try them all.
        scopes: what it allows; ``admin`` allows everything.
        name: a remark.
        created: ISO 8601, UTC.
        expires: likewise, ``None`` for never.
        revoked: since when it is; such a record stays, so that the token cannot come back.
    """

    id: str
    digest: str
    scopes: tuple[Scope, ...]
    name: str = ""
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None


class TokenList(BaseModel):
    """The content of ``TOKENS_FILE``."""

    tokens: list[TokenRecord] = []


def digest_of(token: str) -> str:
    """What of a token may be stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token(scopes: tuple[Scope, ...], *, name: str = "", expires: datetime | None = None) -> tuple[str, TokenRecord]:
    """A new token, to be given away, and its record, to be kept."""
    token = secrets.token_urlsafe(32)
    record = TokenRecord(
        id=secrets.token_hex(4),
        digest=digest_of(token),
        scopes=scopes,
        name=name,
        created=datetime.now(UTC),
        expires=expires,
    )
    return token, record
