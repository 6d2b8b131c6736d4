"""The function ``change_case``: ASCII letters to upper or lower case; all other bytes stay.

What "Replace" stands at is the example; the rest can stay.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from acceleratorAPI.drivers.base import Source, Target
from acceleratorAPI.drivers.cpu import BlockKernel, run_blocks
from acceleratorAPI.errors import FunctionFailedError
from acceleratorAPI.functions.base import Function, NoParameters, Outcome, Parameters
from acceleratorAPI.protocol.cards import Card


# Replace: what a user can set.
class CaseParameters(Parameters):
    """Parameters of ``process``; a class like it could hold those of ``start``."""

    to: Literal["upper", "lower"] = Field("upper", description="The case that letters get.")


# Replace: what is done with the bytes.
class CaseKernel(BlockKernel[int]):
    """Changes each block on its own, and counts its bytes that changed."""

    block_size = 1 << 20

    def __init__(self, to: Literal["upper", "lower"]) -> None:
        self.changed = 0
        self._to = to

    def run(self, window: memoryview, start: int) -> tuple[bytes, int]:
        before = bytes(window[start:])
        letters = b"abcdefghijklmnopqrstuvwxyz" if self._to == "upper" else b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        changed = len(before) - len(before.translate(None, letters))
        return before.upper() if self._to == "upper" else before.lower(), changed

    def collect(self, note: int) -> None:
        self.changed += note


class ChangeCaseFunction(Function[NoParameters, CaseParameters]):
    """Changes the case of letters."""

    card = Card(
        name="change_case",
        # Replace: what users read of it.
        title="Change the case of letters",
        description="Changes the case of the ASCII letters of a file of any size.",
        version="1.0",
        limits=("Letters beyond ASCII stay as they are.",),
    )
    process_parameters = CaseParameters

    def process(self, source: Source | None, target: Target | None, parameters: CaseParameters) -> Outcome:
        if source is None or target is None:
            raise FunctionFailedError("change_case: needs an input and an output")
        kernel = CaseKernel(parameters.to)
        measurement = run_blocks(kernel, source, target, self.threads)
        return Outcome(measurement, {"changed": kernel.changed})
