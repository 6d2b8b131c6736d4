"""Objects of ``s3`` and ``gs`` through fsspec, with the credentials and endpoints its packages find by themselves.

Every error of theirs becomes one of ours at ``_translated``.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from acceleratorAPI.errors import AcceleratorError, FileAccessError, InputError
from acceleratorAPI.remote.names import ObjectUrl, without_secrets

INSTALL = "pip install 'acceleratorAPI[url]'"
READ_BYTES = 8 << 20
PART_BYTES = 16 << 20
# What the stores allow: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
_PARTS = 10_000
# Of an output whose size nobody knows, parts grow with what is written: 10,000 of them then hold a hundred terabytes.
_GROWING_PARTS = 1_000
_MIB = 1 << 20

_FILE_SYSTEMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "s3": ("s3fs", "S3FileSystem", {"config_kwargs": {"connect_timeout": 10, "read_timeout": 60}}),
    "gs": ("gcsfs", "GCSFileSystem", {}),
}


def file_system(scheme: str) -> Any:
    """The fsspec file system of a scheme; made once a process.

    Raises:
        InputError: its package is not installed.
    """
    package, name, options = _FILE_SYSTEMS[scheme]
    try:
        kind = getattr(importlib.import_module(package), name)
    except ImportError as error:
        raise InputError(f"{scheme}:// URLs need the package {package!r}: {INSTALL}") from error
    return kind(use_listings_cache=False, **options)


class ObjectReader:
    """The bytes of one version of an object; the store's package asks again after cuts."""

    def __init__(self, url: ObjectUrl) -> None:
        """Look at it.

        Raises:
            FileAccessError: it does not exist, or may not be read.
            InputError: a package is missing.
        """
        self.name = str(url)
        system = file_system(url.scheme)
        with _translated("read", self.name):
            self._file = system.open(f"{url.bucket}/{url.key}", "rb", block_size=READ_BYTES, cache_type="readahead")
            self.size_bytes: int | None = int(self._file.size)
            # s3fs pins the version by its ETag, gcsfs does not.
            self._version = self._file.details.get("generation")
        self._done = 0

    def read(self, size: int = READ_BYTES, /) -> bytes:
        """The next ``size`` bytes, fewer only at the end.

        Raises:
            FileAccessError: the store does not give them, or the object changed.
        """
        with _translated("read", self.name):
            part = bytes(self._file.read(size))
        self._done += len(part)
        if len(part) < size:
            self._check_whole()
        return part

    def close(self) -> None:
        """Let go of the buffers."""
        self._file.close()

    def _check_whole(self) -> None:
        with _translated("read", self.name):
            same = self._version is None or self._file.fs.info(self._file.path).get("generation") == self._version
        if self._done != self.size_bytes or not same:
            raise FileAccessError(f"cannot read {self.name!r}: it changed while it was read; try again")


class ObjectWriter:
    """A new object on its way, in parts."""

    def __init__(self, file: Any, name: str, *, growing: bool) -> None:
        self._file = file
        self._name = name
        self._growing = growing
        self._done = 0

    def write(self, data: bytes, /) -> int:
        """Take all of ``data``; a full part is sent.

        Raises:
            FileAccessError: the store does not take it.
        """
        with _translated("write", self._name):
            self._file.write(data)
        self._done += len(data)
        if self._growing:
            self._file.blocksize = max(self._file.blocksize, _rounded(self._done // _GROWING_PARTS))
        return len(data)


@contextlib.contextmanager
def replacing(url: ObjectUrl, size_bytes: int | None = None) -> Iterator[ObjectWriter]:
    """Write an object that appears when the block ends without an error; else what was sent is dropped.

    Args:
        url: of the object to make or replace.
        size_bytes: its size, when it is known; it decides the size of the parts, which are kept in memory.

    Raises:
        FileAccessError: the store does not take it.
        InputError: a package is missing.
    """
    name = str(url)
    system = file_system(url.scheme)
    part = PART_BYTES if size_bytes is None else max(PART_BYTES, _rounded(size_bytes // (_PARTS - 1)))
    with _translated("write", name):
        file = system.open(f"{url.bucket}/{url.key}", "wb", block_size=part)
    try:
        yield ObjectWriter(file, name, growing=size_bytes is None)
        with _translated("write", name):
            file.close()
    except BaseException:
        # Its own end would make the object of what there is.
        with contextlib.suppress(Exception):
            file.discard()
        file.closed = True
        raise


def check_available(url: ObjectUrl) -> None:
    """See that the scheme's package is there, before anything is sent.

    Raises:
        InputError: it is not installed.
    """
    file_system(url.scheme)


def _rounded(size_bytes: int) -> int:
    """Up to a whole MiB, as Google's store wants parts."""
    return -(-size_bytes // _MIB) * _MIB


@contextlib.contextmanager
def _translated(action: str, name: str) -> Iterator[None]:
    try:
        yield
    except AcceleratorError:
        raise
    except Exception as error:
        raise FileAccessError(f"cannot {action} {name!r}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such object or bucket"
    if isinstance(error, PermissionError):
        return "access is denied"
    if type(error).__name__ == "FileExpired":
        return "it changed while it was read; try again"
    words = " ".join(without_secrets(str(error)).split())[:300]
    return f"{words or type(error).__name__}"
