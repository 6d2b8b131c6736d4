"""What is planned to go wrong: at which calls, and how."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from acceleratorAPI.testing.aws.calls import Call


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        operation: of the API (``RunInstances``); ``*`` is any.
        nth: the first call it strikes, among those that fit, counted from when it was planned.
        times: how many calls in a row; 0 for all from then on.
        match: a pattern that must be found in the call's parameters, which are lines ``Name=value``; RunInstances has
            the zone it would go to as ``Zone`` besides. ``^`` and ``$`` are the ends of a line.
        service: (``ec2``, ``sts``, ...); empty is any.
        access_key: of who calls; empty is any.
        error: the code that is answered; the call is not done.
        message: of the error.
        status: of HTTP; 0 for the one AWS uses.
        lost: the call is done, then the connection closes without an answer.
        kill: the process that made the call is killed (SIGKILL), ``before`` it is done or ``after``.
        delay_s: the call waits so long first.
    """

    operation: str = "*"
    nth: int = 1
    times: int = 1
    match: str = ""
    service: str = ""
    access_key: str = ""
    error: str = ""
    message: str = "planned by the test"
    status: int = 0
    lost: bool = False
    kill: Literal["", "before", "after"] = ""
    delay_s: float = 0.0

    def __str__(self) -> str:
        """Short, for the log of calls."""
        return self.error or ("lost" if self.lost else f"kill {self.kill}" if self.kill else f"delay {self.delay_s} s")

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass
class _Planned:
    fault: Fault
    seen: int = 0

    def strikes(self, call: Call) -> bool:
        fault = self.fault
        if fault.operation not in ("*", call.operation) or fault.service not in ("", call.service):
            return False
        if fault.access_key not in ("", call.access_key):
            return False
        if fault.match and not re.search(fault.match, call.text(), re.MULTILINE):
            return False
        self.seen += 1
        return self.seen >= fault.nth and (not fault.times or self.seen < fault.nth + fault.times)


@dataclass
class FaultPlan:
    """All that is planned. Every fault counts every call that fits it; the first that strikes is the one."""

    _planned: list[_Planned] = field(default_factory=list)

    def add(self, fault: Fault) -> None:
        """Plan one more."""
        self._planned.append(_Planned(fault))

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._planned.clear()

    def take(self, call: Call) -> Fault | None:
        """What strikes this call, if anything."""
        striking = [planned.fault for planned in self._planned if planned.strikes(call)]
        return striking[0] if striking else None
