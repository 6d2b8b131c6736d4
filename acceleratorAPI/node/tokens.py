"""The tokens a node takes: digests in its state folder, read again whenever the file changes."""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from acceleratorAPI.errors import (
    AcceleratorError,
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
    StateError,
)
from acceleratorAPI.files import access_error, replacing
from acceleratorAPI.protocol.tokens import TOKENS_FILE, Scope, TokenList, TokenRecord, digest_of

log = logging.getLogger(__name__)


class TokenFile:
    """The file of one state folder. Nodes read it while commands change it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / TOKENS_FILE

    def read(self) -> list[TokenRecord]:
        """All records, revoked and expired ones too.

        Raises:
            StateError: the file is damaged.
        """
        try:
            return TokenList.model_validate_json(self._path.read_bytes()).tokens
        except FileNotFoundError:
            return []
        except OSError as error:
            raise access_error("read", self._path, error) from error
        except ValidationError:
            raise StateError(f"{str(self._path)!r} is damaged: restore it, or remove it and make new tokens") from None

    def stamp(self) -> tuple[int, int, int] | None:
        """Changes when the file does; ``None`` while there is none."""
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def add(self, record: TokenRecord) -> None:
        """Store one more.

        Raises:
            FileAccessError: the folder is missing or may not be written.
        """
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._changing() as records:
            records.append(record)

    def revoke(self, identifier: str) -> TokenRecord:
        """Let the token of that id be worth nothing from now on.

        Raises:
            NotFoundError: there is none.
        """
        with self._changing() as records:
            for place, record in enumerate(records):
                if record.id == identifier:
                    records[place] = record.model_copy(update={"revoked": record.revoked or datetime.now(UTC)})
                    return records[place]
        raise NotFoundError(f"{str(self._path)!r} has no token {identifier!r}")

    @contextlib.contextmanager
    def _changing(self) -> Iterator[list[TokenRecord]]:
        """The records to change; one command at a time is in here."""
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise access_error("write", self._path, error) from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            records = self.read()
            yield records
            if not self._path.exists():
                # Its mode is what the next one takes over.
                os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            with replacing(self._path, durable=True) as file:
                file.write(TokenList(tokens=records).model_dump_json(indent=1).encode())
        finally:
            os.close(folder)


@dataclass(frozen=True, slots=True)
class Grant:
    """What the sender of a request may do.

    Attributes:
        id: of the token.
        digest: of the token.
        scopes: what it allows.
        expires: until when; ``None`` for ever.
        edition: of the tokens in force when it was granted.
    """

    id: str
    digest: str
    scopes: tuple[Scope, ...]
    expires: datetime | None
    edition: int

    def check(self, scope: Scope) -> None:
        """See that ``scope`` is among them.

        Raises:
            PermissionDeniedError: it is not.
        """
        if scope not in self.scopes and "admin" not in self.scopes:
            raise PermissionDeniedError(
                f"this token allows {', '.join(self.scopes) or 'nothing'}, and this request needs {scope}"
            )


class Tokens:
    """The tokens in force now."""

    def __init__(self, file: TokenFile, given: str | None) -> None:
        """Args:
        file: of digests; it may not exist yet.
        given: one more token, that allows everything; only its digest is kept.

        Raises:
            StateError: the file is damaged.
        """
        self._file = file
        self._given = None if given is None else digest_of(given)
        self._edition = 0
        self._stamp = file.stamp()
        self._records = file.read()

    def grant(self, token: str) -> Grant:
        """What ``token`` allows.

        Raises:
            AuthenticationError: nothing: it is unknown, expired or revoked.
        """
        return self._find(digest_of(token))

    def check(self, grant: Grant) -> None:
        """See that what was granted still is. Cheap enough for every piece of a transfer.

        Raises:
            AuthenticationError: the token has expired or was revoked since.
        """
        self._refresh()
        if grant.edition != self._edition or (grant.expires is not None and grant.expires <= datetime.now(UTC)):
            self._find(grant.digest)

    def _find(self, digest: str) -> Grant:
        self._refresh()
        found = None
        # To the end and in constant time each: how long it takes says nothing of what is stored.
        for record in self._records:
            if hmac.compare_digest(record.digest, digest):
                found = record
        given = self._given is not None and hmac.compare_digest(self._given, digest)
        if found is None:
            if given:
                return Grant("given", digest, ("admin",), None, self._edition)
            raise AuthenticationError("this is no token of this node")
        if found.revoked is not None:
            raise AuthenticationError(f"the token {found.id} was revoked")
        if found.expires is not None and found.expires <= datetime.now(UTC):
            raise AuthenticationError(f"the token {found.id} has expired")
        return Grant(found.id, digest, found.scopes, found.expires, self._edition)

    def _refresh(self) -> None:
        stamp = self._file.stamp()
        if stamp == self._stamp:
            return
        try:
            self._records = self._file.read()
        except AcceleratorError as error:
            # Whatever was revoked there must not come back: nobody gets in by this file.
            log.error("%s", error)
            self._records = []
        self._edition += 1
        self._stamp = stamp
