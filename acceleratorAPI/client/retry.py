"""When to try again: as long as there is progress, there is no limit; without any, only so often."""

from __future__ import annotations

import random
import time

from acceleratorAPI.errors import (
    AcceleratorError,
    DiskFullError,
    IntegrityError,
    NodeBusyError,
    NodeUnreachableError,
    OffsetError,
)

TRIES = 10
LONGEST_S = 30.0
_FIRST_S = 0.2
_PASSING = (NodeUnreachableError, NodeBusyError, IntegrityError, OffsetError)


class Backoff:
    """Waits between tries, longer each time, with full jitter: clients cut off together do not come back together."""

    def __init__(self) -> None:
        self._failed = 0

    def progress(self) -> None:
        """Something worked: begin anew."""
        self._failed = 0

    def wait(self, error: AcceleratorError) -> None:
        """Wait before the next try, or give up.

        Raises:
            AcceleratorError: ``error``, when trying again is no use, or was not for too long.
        """
        passing = isinstance(error, _PASSING) and not isinstance(error, DiskFullError)
        self._failed += 1
        if not passing or self._failed >= TRIES:
            raise error
        longest_s = min(LONGEST_S, _FIRST_S * 2**self._failed)
        least_s = min(LONGEST_S, error.retry_after_s) if isinstance(error, NodeBusyError) else 0.0
        time.sleep(least_s + random.uniform(0, longest_s))  # noqa: S311 - no secret
