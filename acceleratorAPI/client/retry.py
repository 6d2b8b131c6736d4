"""When to try again: as long as there is progress, there is no limit; without any, only so often."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from acceleratorAPI.errors import (
    AcceleratorError,
    DiskFullError,
    IntegrityError,
    NodeBusyError,
    NodeUnreachableError,
    OffsetError,
)

LONGEST_S = 30.0
# Without any progress; a machine has restarted by then.
PATIENCE_S = 300.0
_FIRST_S = 0.2
_PASSING = (NodeUnreachableError, NodeBusyError, IntegrityError, OffsetError)


class Backoff:
    """Waits between tries, longer each time, with full jitter: clients cut off together do not come back together."""

    def __init__(self, hopeless: Callable[[], bool] = lambda: False, patience_s: float = PATIENCE_S) -> None:
        """Args:
        hopeless: whether nothing will ever answer again.
        patience_s: how long to wait in all without progress.
        """
        self._hopeless = hopeless
        self._patience_s = patience_s
        self.progress()

    def progress(self) -> None:
        """Something worked: begin anew."""
        self._failed = 0
        self._waited_s = 0.0

    def wait(self, error: AcceleratorError) -> None:
        """Wait before the next try, never less than the node asked for; or give up.

        Raises:
            AcceleratorError: ``error``, when trying again is no use, or was not for too long.
        """
        passing = isinstance(error, _PASSING) and not isinstance(error, DiskFullError)
        self._failed += 1
        least_s = error.retry_after_s if isinstance(error, NodeBusyError) else 0.0
        wait_s = least_s + random.uniform(0, min(LONGEST_S, _FIRST_S * 2 ** min(self._failed, 10)))  # noqa: S311
        self._waited_s += wait_s
        if not passing or self._waited_s > self._patience_s:
            raise error
        if isinstance(error, NodeUnreachableError) and self._hopeless():
            raise error
        time.sleep(wait_s)
