"""How the node's package reaches an instance: from a package index, a URL, or the user's own bucket."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote, urlsplit

from botocore.exceptions import ClientError

from acceleratorAPI.errors import ConfigurationError
from acceleratorAPI.files import access_error
from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.providers.aws.troubles import code_of, trying

# The instance fetches it in its first minutes or ends.
_SIGNED_S = 3600
_FOLDER = "acceleratorapi"


@dataclass(frozen=True, slots=True)
class Package:
    """What is installed: a requirement, or the file of that name behind ``url``, with that SHA-256 if one is known."""

    requirement: str
    url: str = field(default="", repr=False)
    sha256: str = ""


def find_package(cloud: Cloud, given: str | None, bucket: str | None) -> Package:
    """What an instance shall install.

    Args:
        cloud: of the bucket.
        given: nothing for this very version from the package index, a requirement, an https URL of a wheel or
            ``s3://bucket/key`` of one, either with ``#sha256=`` at its end, or a wheel of this machine.
        bucket: to which a wheel of this machine is copied.

    Raises:
        ConfigurationError: it is none of these.
        InstanceError: the bucket cannot be used.
    """
    if not given:
        return Package(f"acceleratorAPI=={version('acceleratorAPI')}")
    parts = urlsplit(given)
    if parts.scheme in ("https", "http", "s3"):
        sha256 = _sha256(parts.fragment, given)
        name = _wheel_name(unquote(parts.path), given)
        if parts.scheme == "s3":
            return Package(name, _signed(cloud, parts.netloc, parts.path.lstrip("/")), sha256)
        if parts.scheme == "http" and not sha256:
            raise ConfigurationError(
                f"{_shown(given)}: anybody on the way could give the instance another wheel: use https, or #sha256=..."
            )
        return Package(name, parts._replace(fragment="").geturl(), sha256)
    if given.endswith(".whl"):
        if not bucket:
            raise ConfigurationError(f"{_shown(given)} is a file of this machine: give node_bucket too")
        name, path = _wheel_name(given, given), Path(given).expanduser()
        try:
            with open(path, "rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise access_error("read", path, error) from error
        # By what is in it: a wheel built anew has the same name.
        key = f"{_FOLDER}/{sha256[:16]}/{name}"
        _copy(cloud, path, bucket, key)
        return Package(name, _signed(cloud, bucket, key), sha256)
    if not re.match(r"[A-Za-z0-9]", given):
        raise ConfigurationError(f"{_shown(given)}: use a requirement, the URL of a wheel, s3://..., or a wheel")
    return Package(given)


def _shown(given: str) -> str:
    # Its query may be a secret.
    return f"[csp] node_package = {given.partition('?')[0]!r}"


def _sha256(fragment: str, given: str) -> str:
    found = re.fullmatch(r"(?:sha256=([0-9a-fA-F]{64}))?", fragment)
    if found is None:
        raise ConfigurationError(f"{_shown(given)}: after # goes sha256= and 64 hexadecimal digits")
    return (found[1] or "").lower()


def _wheel_name(path: str, given: str) -> str:
    name = path.rpartition("/")[2]
    if not name.endswith(".whl") or not set(name) < set(_NAME):
        raise ConfigurationError(f"{_shown(given)}: the name of a wheel ends in .whl")
    return name


_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-"


def _signed(cloud: Cloud, bucket: str, key: str) -> str:
    # The instance gets no credentials: only this one file, and only for a while.
    url: str = cloud.client("s3").generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=_SIGNED_S
    )
    return url


def _copy(cloud: Cloud, path: Path, bucket: str, key: str) -> None:
    s3 = cloud.client("s3")
    try:
        size_bytes = path.stat().st_size
        with trying(f"copy {path.name} to [csp] node_bucket = {bucket!r}"):
            try:
                if s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == size_bytes:
                    return
            except ClientError as error:
                # Without the right to list the bucket, what is not there is forbidden.
                if code_of(error) not in ("404", "NoSuchKey", "403"):
                    raise
            with open(path, "rb") as file:
                s3.put_object(Bucket=bucket, Key=key, Body=file)
    except OSError as error:
        raise access_error("read", path, error) from error
