"""The key pair of ``ssh_key``: an own public key is imported; no private key is ever made by the cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from acceleratorAPI.errors import ConfigurationError
from acceleratorAPI.files import access_error
from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.providers.aws.troubles import trying

_OWN = ("id_ed25519.pub", "id_rsa.pub")
_KINDS = ("ssh-ed25519 ", "ssh-rsa ")


def ensure_key(cloud: Cloud, region: str, name: str, file: str | None, tags: list[dict[str, str]]) -> None:
    """See that the region has a key pair of that name; when not, import the user's public key under it.

    Args:
        cloud: the account.
        region: where.
        name: of the key pair.
        file: of the public key; ``None``: the usual ones.
        tags: on what is made.

    Raises:
        ConfigurationError: there is no public key to import.
        InstanceError: AWS refuses.
    """
    ec2 = cloud.ec2(region)
    with trying(f"look for [csp] ssh_key = {name!r}"):
        if ec2.describe_key_pairs(Filters=[{"Name": "key-name", "Values": [name]}])["KeyPairs"]:
            return
    material = _public_key(name, file)
    request: dict[str, Any] = {"KeyName": name, "PublicKeyMaterial": material}
    with trying(f"import [csp] ssh_key = {name!r}", "InvalidKeyPair.Duplicate"):
        ec2.import_key_pair(**request, TagSpecifications=[{"ResourceType": "key-pair", "Tags": tags}])


def _public_key(name: str, file: str | None) -> bytes:
    candidates = [Path(file)] if file else [Path.home() / ".ssh" / usual for usual in _OWN]
    for path in candidates:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise access_error("read", path, error) from error  # type: ignore[arg-type]
        if not text.startswith(_KINDS):
            raise ConfigurationError(f"[csp] ssh_public_key = {str(path)!r}: no Ed25519 or RSA public key (ssh-keygen)")
        return text.strip().encode()
    raise ConfigurationError(
        f"[csp] ssh_key = {name!r}: there is no such key pair, and no public key to import at"
        f" {' or '.join(map(str, candidates))}: make one (ssh-keygen -t ed25519), or give ssh_public_key"
    )
