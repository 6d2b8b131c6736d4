"""change_case keeps the contract of a function."""

from __future__ import annotations

from typing import ClassVar

from acceleratorapi_change_case import ChangeCaseFunction

from acceleratorAPI.functions.base import Outcome
from acceleratorAPI.testing.function_contract import FunctionContract


# Replace: what comes out.
class TestUpper(FunctionContract):
    function = ChangeCaseFunction

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        expected = bytes(byte - 32 if 97 <= byte <= 122 else byte for byte in given)
        assert got == expected
        assert outcome.specific["changed"] == sum(a != b for a, b in zip(given, got, strict=True))


class TestLower(FunctionContract):
    function = ChangeCaseFunction
    process_values: ClassVar = {"to": "lower"}

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        assert got == bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in given)
