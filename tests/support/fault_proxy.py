"""A TCP proxy in threads that does to a connection what networks do: cut it, silence it, flip a bit, be slow."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Literal

CHUNK_BYTES = 128 << 10
# A read of so many bytes ends in a body: heads are small, and no request waits behind another.
BODY_BYTES = 4096
RESET = struct.pack("ii", 1, 0)

Kind = Literal["rst", "fin", "drop", "flip"]


@dataclass
class Fault:
    """What happens once, when so many bytes have passed in one direction, over all connections.

    Attributes:
        kind: ``rst`` and ``fin`` end both sides, ``drop`` leaves them open and silent, ``flip`` turns a bit.
        at: the bytes.
        up: from the client to the node.
    """

    kind: Kind
    at: int
    up: bool = True


class FaultProxy:
    """Stands before one node.

    Attributes:
        url: where clients find it.
        passed: bytes by direction, ``True`` is to the node.
        fired: the faults that happened.
        rate_bytes_s: of each connection and direction, ``None`` for no limit.
        delay_s: added to every way through.
    """

    def __init__(self, node: tuple[str, int], faults: list[Fault] | None = None) -> None:
        self.faults = faults or []
        self.fired: list[Fault] = []
        self.passed = {True: 0, False: 0}
        self.rate_bytes_s: float | None = None
        self.delay_s = 0.0
        self._node = node
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._ended = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        for end in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ended:
                client, _ = self._listener.accept()
                try:
                    node = socket.create_connection(self._node, 10)
                except OSError:
                    client.close()
                    continue
                node.settimeout(None)
                pair = _Pair(client, node)
                self._open |= {client, node}
                for up in (True, False):
                    threading.Thread(target=self._pump, args=(pair, up), daemon=True).start()

    def _pump(self, pair: _Pair, up: bool) -> None:
        source, target = (pair.client, pair.node) if up else (pair.node, pair.client)
        due = time.monotonic()
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                if self.rate_bytes_s is not None:
                    due = max(due, time.monotonic()) + len(data) / self.rate_bytes_s
                    time.sleep(max(0.0, due - time.monotonic()))
                if self.delay_s:
                    time.sleep(self.delay_s)
                fault = self._fault(len(data), up)
                if fault is not None and fault.kind == "flip":
                    data = data[:-1] + bytes([data[-1] ^ 1])
                elif fault is not None:
                    # Half of it still arrives.
                    target.sendall(data[: len(data) // 2])
                    pair.silent = fault.kind == "drop"
                    if not pair.silent:
                        pair.end(reset=fault.kind == "rst")
                        return
                if pair.silent:
                    pair.wait()
                    return
                target.sendall(data)
        if not pair.silent:
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)

    def _fault(self, size: int, up: bool) -> Fault | None:
        with self._lock:
            self.passed[up] += size
            for fault in self.faults:
                due = fault.up is up and self.passed[up] >= fault.at
                if due and (fault.kind != "flip" or size >= BODY_BYTES):
                    self.faults.remove(fault)
                    self.fired.append(fault)
                    return fault
        return None


class _Pair:
    """One client's connection and the one to the node that belongs to it."""

    def __init__(self, client: socket.socket, node: socket.socket) -> None:
        self.client, self.node = client, node
        self.silent = False

    def end(self, *, reset: bool) -> None:
        for end in (self.client, self.node):
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    # A reader in the other thread keeps the socket alive until it is woken.
                    end.shutdown(socket.SHUT_RD)
                else:
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def wait(self) -> None:
        """Say nothing while the ends live."""
        while self.client.fileno() >= 0:
            time.sleep(0.1)
