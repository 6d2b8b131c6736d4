"""The lease of an instance in use: renewed from a thread as long as its session lives."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.errors import AcceleratorError
from acceleratorAPI.protocol.records import Lease

_log = logging.getLogger(__name__)

# Often enough that a lease of minutes survives some failed tries, seldom enough to cost nothing.
EVERY_S = 20.0
_PARTS = 5


class LeaseKeeper:
    """Renews the lease of one node. A machine that is cut off from us for longer than its lease ends itself."""

    def __init__(self, node: NodeClient, seconds: float, renewed: Callable[[float], None]) -> None:
        """Begin at once, in the background.

        Args:
            node: of the instance.
            seconds: how long it is to live after each renewal; it is never shortened to that.
            renewed: told of each renewal.
        """
        self._node = node
        self._seconds = seconds
        self._renewed = renewed
        self._noticed = ""
        self._pid = os.getpid()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def change(self, seconds: float) -> None:
        """Let it live ``seconds`` after each renewal, from now on and exactly.

        Raises:
            AcceleratorError: the node does not take it.
        """
        self._seconds = seconds
        self._node.lease(Lease(seconds=seconds))
        self._renewed(seconds)

    def end(self) -> None:
        """Renew no more. It takes no lock that a signal could find taken, and waits for nothing."""
        if os.getpid() == self._pid:
            self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                answer = self._node.lease(Lease(seconds=self._seconds, extend=True))
                if answer.notice and not self._noticed:
                    self._noticed = answer.notice
                    _log.warning("%s: %s; it takes no more work", self._node.url, answer.notice)
                self._renewed(self._seconds)
            except AcceleratorError:
                # Whoever uses the node sees what is wrong; here the next try is all that can be done.
                pass
            self._ended.wait(min(EVERY_S, self._seconds / _PARTS))
