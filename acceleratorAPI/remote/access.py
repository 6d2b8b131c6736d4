"""A remote file by its URL, whatever its scheme: read, written as a stream, or sent whole."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import Protocol

from acceleratorAPI.errors import FileAccessError
from acceleratorAPI.remote import objects, web
from acceleratorAPI.remote.breaker import Breaker
from acceleratorAPI.remote.names import ObjectUrl, Remote
from acceleratorAPI.remote.web import Body, Route

BLOCK_BYTES = 1 << 20


class RemoteReader(Protocol):
    """A remote file, being read. ``size_bytes`` is ``None`` when the server does not tell."""

    size_bytes: int | None

    def read(self, size: int, /) -> bytes:
        """The next ``size`` bytes, fewer only at the end."""

    def close(self) -> None:
        """Let go of it."""


class RemoteWriter(Protocol):
    """A remote file, being written."""

    def write(self, data: bytes, /) -> int | None:
        """Take ``data``, or as much of it as the answer says."""


def check(url: Remote) -> None:
    """See that this installation can open such a URL; nothing is sent.

    Raises:
        InputError: a package is missing.
    """
    if isinstance(url, ObjectUrl):
        objects.check_available(url)


def open_source(url: Remote, route: Route | None = None, breaker: Breaker | None = None) -> RemoteReader:
    """A reader from the start.

    Args:
        url: what to read.
        route: who may be asked, for ``http(s)``; everybody by default.
        breaker: ends it from another thread.

    Raises:
        FileAccessError: it does not exist or may not be read.
        PermissionDeniedError: the route does not lead there.
    """
    if isinstance(url, ObjectUrl):
        return objects.ObjectReader(url)
    return web.WebReader(url, route or web.Direct(), breaker)


@contextlib.contextmanager
def replacing(url: Remote, size_bytes: int | None = None) -> Iterator[RemoteWriter]:
    """Write a remote file that appears when the block ends without an error, or not at all.

    One PUT must say its length first, so for ``http(s)`` the bytes wait in a temporary file until the block's end.

    Raises:
        FileAccessError: it may not be written.
    """
    if isinstance(url, ObjectUrl):
        with objects.replacing(url, size_bytes) as writer:
            yield writer
        return
    with tempfile.TemporaryFile() as kept:
        try:
            yield kept
            kept.flush()
        except OSError as error:
            raise FileAccessError(f"cannot keep the output for its upload: {error.strerror}") from error
        web.put(url, kept, kept.tell(), web.Direct())


def send(url: Remote, body: Body, size_bytes: int, route: Route, breaker: Breaker) -> None:
    """Make the remote file of ``body``, whole or not at all.

    Args:
        url: what to write.
        body: its bytes; read again from the start when a try was cut.
        size_bytes: how many they are.
        route: who may be asked, for ``http(s)``.
        breaker: ends it from another thread.

    Raises:
        FileAccessError: it may not be written.
        PermissionDeniedError: the route does not lead there.
    """
    if not isinstance(url, ObjectUrl):
        web.put(url, body, size_bytes, route, breaker)
        return
    with objects.replacing(url, size_bytes) as writer:
        while part := body.read(BLOCK_BYTES):
            breaker.check()
            writer.write(part)
        breaker.check()
