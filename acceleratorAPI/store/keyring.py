"""The store's own secrets, in one file of its state folder: Django's key, the pepper of secrets, signing keys."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey, KeySet

from acceleratorAPI.errors import ConfigurationError
from acceleratorAPI.files import replacing

FILE = "keys.json"
# Kept to check tokens that are still out; two rotations a token's life would be needed to lose one.
_KEPT_KEYS = 2


@dataclass(frozen=True)
class Keyring:
    """What only the store knows.

    Attributes:
        secret_key: Django's.
        pepper: of access keys' secrets: the database alone does not tell them.
        signing: the newest first; it signs, all check.
    """

    secret_key: str
    pepper: bytes
    signing: tuple[ECKey, ...]

    @property
    def public(self) -> dict[str, Any]:
        """The JWK set that nodes read."""
        return dict(KeySet(list(self.signing)).as_dict(private=False))

    @classmethod
    def load(cls, folder: Path) -> Keyring:
        """That of ``folder``, made when there is none.

        Raises:
            ConfigurationError: the file cannot be read or written, or is damaged.
        """
        path = folder / FILE
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(folder):
                if not path.exists():
                    _write(path, secrets.token_urlsafe(50), secrets.token_bytes(32), (_new_key(),))
                values = json.loads(path.read_text(encoding="utf-8"))
            keys = tuple(ECKey.import_key(key) for key in values["signing"])
            return cls(values["secret_key"], base64.b64decode(values["pepper"]), keys)
        except OSError as error:
            raise ConfigurationError(f"cannot use the store's keys {str(path)!r}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError):
            raise ConfigurationError(f"{str(path)!r} is damaged: bring it back from a backup") from None

    @classmethod
    def rotate(cls, folder: Path) -> Keyring:
        """Sign with a new key from now on; the one before still checks."""
        ring = cls.load(folder)
        with _locked(folder):
            _write(folder / FILE, ring.secret_key, ring.pepper, (_new_key(), *ring.signing)[:_KEPT_KEYS])
        return cls.load(folder)


def _new_key() -> ECKey:
    key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
    key.ensure_kid()
    return key


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time: of two stores started together, the second takes the first one's keys."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, secret_key: str, pepper: bytes, signing: tuple[ECKey, ...]) -> None:
    values = {
        "secret_key": secret_key,
        "pepper": base64.b64encode(pepper).decode(),
        "signing": [key.as_dict(private=True) for key in signing],
    }
    if not path.exists():
        # Its mode is what the next one takes over.
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with replacing(path, durable=True) as file:
        file.write(json.dumps(values, indent=1).encode())
