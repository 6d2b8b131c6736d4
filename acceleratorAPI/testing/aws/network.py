"""The wires of an instance: connections between its network namespace and the loopback, and what cuts them."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial

_BLOCK_BYTES = 1 << 18

Dial = Callable[[], socket.socket]


class Wire:
    """Whether bytes flow to and from an instance; a cut keeps them, as a broken cable does not tell anybody."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()

    def cut(self) -> None:
        """From now on nothing passes."""
        self._open.clear()

    def mend(self) -> None:
        """Everything passes again."""
        self._open.set()

    def wait(self) -> None:
        """Return when bytes may pass."""
        self._open.wait()


def listen(address: str, port: int) -> socket.socket:
    """A listening socket."""
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((address, port))
        server.listen(256)
    except OSError:
        server.close()
        raise
    return server


def serve(server: socket.socket, handle: Callable[[socket.socket], None], name: str) -> None:
    """Call ``handle`` with each connection, in a thread of its own, until the server is closed."""

    def loop() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            start(partial(handle, connection), name)

    start(loop, name)


def start(run: Callable[[], None], name: str) -> threading.Thread:
    """A thread that does not keep the program alive."""
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def close(server: socket.socket) -> None:
    """Close a socket and wake whoever waits on it."""
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)
    server.close()


def reset(connection: socket.socket) -> None:
    """End a connection as if nobody had ever been there."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def join(one: socket.socket, other: socket.socket, wire: Wire) -> None:
    """Copy both ways until both have ended."""
    back = start(lambda: _copy(other, one, wire), "wire back")
    _copy(one, other, wire)
    back.join()
    one.close()
    other.close()


def _copy(source: socket.socket, target: socket.socket, wire: Wire) -> None:
    try:
        while data := source.recv(_BLOCK_BYTES):
            wire.wait()
            target.sendall(data)
        wire.wait()
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # One side is gone: so is the other.
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class PublicAddress:
    """What of an instance can be reached at its public address: every port it listens on, where a rule allows it."""

    def __init__(
        self, address: str, wire: Wire, dial: Callable[[int], socket.socket], allowed: Callable[[int, str], bool]
    ) -> None:
        self._address = address
        self._wire = wire
        self._dial = dial
        self._allowed = allowed
        self._servers: dict[int, socket.socket] = {}
        self._refused: set[int] = set()

    def show(self, ports: list[int]) -> None:
        """Listen on exactly these ports."""
        for port in [port for port in self._servers if port not in ports]:
            close(self._servers.pop(port))
        for port in ports:
            if port not in self._servers:
                try:
                    server = listen(self._address, port)
                except OSError as error:
                    if port not in self._refused:
                        sys.stderr.write(f"{self._address}:{port} cannot be reached: {error.strerror}\n")
                    self._refused.add(port)
                    continue
                self._servers[port] = server
                serve(server, partial(self._take, port), f"{self._address}:{port}")

    def _take(self, port: int, connection: socket.socket) -> None:
        if not self._allowed(port, connection.getpeername()[0]):
            reset(connection)
            return
        self._wire.wait()
        try:
            inside = self._dial(port)
        except OSError:
            reset(connection)
            return
        join(connection, inside, self._wire)

    def close(self) -> None:
        """Nothing can be reached any more."""
        self.show([])
