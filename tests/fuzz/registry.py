"""The fuzz targets, and what every one of them must keep on any input at all."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import FrameType

# Each is a module of this package with SEEDS (inputs to start from), ALLOWED (errors that a bad input may raise) and
# run(data), which asserts what else holds.
TARGETS = (
    "config_file",
    "content_disposition",
    "corpus",
    "form_body",
    "forwarded_headers",
    "multipart",
    "range_header",
    "v1_parameters",
)

MAX_CPU_S = 1.0
MAX_GROWTH_BYTES = 50 << 20


class HangError(Exception):
    """An input took too long."""


@dataclass(frozen=True)
class Target:
    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    allowed: tuple[type[Exception], ...]

    def check(self, data: bytes) -> bool:
        """Run one input; whether it was accepted.

        Raises:
            HangError: it took more than ``MAX_CPU_S`` of the processor (not of the clock: other programs do not count).
            MemoryError: the process grew by more than ``MAX_GROWTH_BYTES``.
            Exception: whatever is not allowed.
        """
        before = resource.getrusage(resource.RUSAGE_SELF)
        refusal: Exception | None = None
        signal.signal(signal.SIGVTALRM, _hang)
        signal.setitimer(signal.ITIMER_VIRTUAL, MAX_CPU_S)
        try:
            self.run(data)
        except self.allowed as error:
            refusal = error
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        assert "\n" not in str(refusal), f"an error of several lines: {refusal}"
        after = resource.getrusage(resource.RUSAGE_SELF)
        if after.ru_utime - before.ru_utime > MAX_CPU_S:
            _hang()
        grown_bytes = (after.ru_maxrss - before.ru_maxrss) * 1024
        if grown_bytes > MAX_GROWTH_BYTES:
            raise MemoryError(
                f"{self.name}: an input of {len(data)} bytes made the process grow by {grown_bytes} bytes"
            )
        return refusal is None


def load(name: str) -> Target:
    """The target of that name."""
    module = import_module(f"fuzz.{name}")
    return Target(name, module.run, module.SEEDS, module.ALLOWED)


def _hang(_signal: int = 0, _frame: FrameType | None = None) -> None:
    raise HangError(f"an input took more than {MAX_CPU_S} s")
