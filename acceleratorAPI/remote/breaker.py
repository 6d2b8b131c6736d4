"""How one thread ends the transfer of another at once."""

from __future__ import annotations

import contextlib
import socket
import threading

from acceleratorAPI.errors import JobCancelledError


class Breaker:
    """Given to a transfer. Once it is open, the transfer's connection is cut and nothing more is sent or read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._opened = threading.Event()

    @property
    def is_open(self) -> bool:
        """Whether the transfer is to end."""
        return self._opened.is_set()

    def open(self) -> None:
        """End the transfer; safe from any thread, and a second time."""
        with self._lock:
            self._opened.set()
            if self._socket is not None:
                cut(self._socket)

    def check(self) -> None:
        """Go on?

        Raises:
            JobCancelledError: no.
        """
        if self.is_open:
            raise JobCancelledError("the transfer was cancelled")

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until the end.

        Raises:
            JobCancelledError: it came.
        """
        self._opened.wait(seconds)
        self.check()

    def watch(self, connection: socket.socket | None) -> None:
        """Take the transfer's connection in use; ``None``: there is none."""
        with self._lock:
            self._socket = connection
            if connection is not None and self.is_open:
                cut(connection)


def cut(connection: socket.socket) -> None:
    """Wake whoever reads or writes on ``connection``; it stays theirs to close.

    The plain socket's own method: that of a TLS socket would make the reader take what is left for plain text.
    """
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
