"""The function ``secureic_trng``: random bytes, as many as asked for, from a source that is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from pydantic import Field
from typing_extensions import override

from acceleratorAPI.drivers.base import Source, Target, expect
from acceleratorAPI.drivers.cpu import PieceKernel, run_pieces
from acceleratorAPI.drivers.ends import Intake
from acceleratorAPI.errors import FunctionFailedError, ParameterError
from acceleratorAPI.functions.base import Function, NoParameters, Outcome, Parameters
from acceleratorAPI.native._kernels import (
    EntropyError,
    HealthTests,
    fill_from_kernel,
    fill_from_rdseed,
    has_rdseed,
)
from acceleratorAPI.protocol.cards import Card

# A few of these fit the cache of a core; larger ones are slower.
BLOCK_BYTES = 256 << 10
_KEY_BYTES = 32
_NONCE_BYTES = 16

Fill = Callable[[memoryview], None]
SourceName = Literal["kernel", "chacha20", "rdseed"]


class RandomParameters(Parameters):
    """Parameters of ``process``."""

    nbBytes: int = Field(ge=0, le=(1 << 63) - 1, description="How many random bytes to write.")  # noqa: N815 - historical
    source: SourceName = Field(
        "kernel",
        description=(
            "`kernel`: the operating system's cryptographic generator. `chacha20`: a ChaCha20 generator with a new key "
            "from `kernel` for every 256 KiB, several times faster. `rdseed`: the CPU's RDSEED instruction, slow."
        ),
    )


class RandomKernel(PieceKernel[memoryview]):
    """Fills blocks of random bytes on several threads; every block is filled by a call of its own."""

    def __init__(self, size_bytes: int, fill: Fill) -> None:
        self._left_bytes = size_bytes
        self._fill = fill
        self._free: list[memoryview] = []

    @override
    def pieces(self, intake: Intake) -> Iterator[memoryview]:
        while self._left_bytes:
            block = self._free.pop() if self._free else memoryview(bytearray(BLOCK_BYTES))
            block = block[: self._left_bytes]
            self._left_bytes -= len(block)
            yield block

    @override
    def size_bytes(self, piece: memoryview) -> int:
        return len(piece)

    @override
    def run(self, piece: memoryview) -> memoryview:
        self._fill(piece)
        return piece

    @override
    def written(self, piece: memoryview) -> None:
        self._free.append(piece)


class RandomBytes(Function[NoParameters, RandomParameters]):
    """Writes random bytes."""

    card = Card(
        name="secureic_trng",
        title="Random bytes from a named source",
        description=(
            "Writes `nbBytes` random bytes, made on all cores. The answer says which source they are from. The default "
            "is the operating system's cryptographic generator; no source here is a certified true random number "
            "generator, and none claims to be."
        ),
        version="1.0",
        input="none",
        limits=(
            "`kernel` and `chacha20` are cryptographic generators seeded by the kernel, not raw physical noise.",
            "`rdseed` needs an x86-64 CPU that has the instruction. The CPU has conditioned what it delivers.",
            "The health tests of `rdseed` find a broken instruction, not a subtle bias.",
            "No seed can be given: no output can be made twice.",
        ),
    )
    process_parameters = RandomParameters

    @override
    def process(self, source: Source | None, target: Target | None, parameters: RandomParameters) -> Outcome:
        if target is None:
            raise FunctionFailedError("secureic_trng: needs an output")
        if parameters.source == "rdseed" and not has_rdseed():
            raise ParameterError("secureic_trng: source = 'rdseed': this CPU has no RDSEED; use 'kernel'")
        fill, facts = _FILLS[parameters.source](), _FACTS[parameters.source]
        expect(target, parameters.nbBytes)
        try:
            measurement = run_pieces(RandomKernel(parameters.nbBytes, fill), None, target, self.threads)
        except EntropyError as error:
            raise FunctionFailedError(f"secureic_trng: source = {parameters.source!r}: {error}") from error
        return Outcome(measurement, {"source": parameters.source, **facts})


def chacha20() -> Fill:
    """Fills each block with the key stream of ChaCha20 under a key of its own, which nobody keeps.

    As no state outlives a block, neither a fork nor another thread can ever give the same one.
    """
    # Here and not at the first block, whose time is measured.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    zeros = memoryview(bytes(BLOCK_BYTES))

    def fill(block: memoryview) -> None:
        key = bytearray(_KEY_BYTES)
        fill_from_kernel(key)
        stream = Cipher(algorithms.ChaCha20(bytes(key), bytes(_NONCE_BYTES)), mode=None).encryptor()
        stream.update_into(zeros[: len(block)], block)

    return fill


_FILLS: Mapping[SourceName, Callable[[], Fill]] = {
    "kernel": lambda: fill_from_kernel,
    "chacha20": chacha20,
    "rdseed": lambda: fill_from_rdseed,
}
_FACTS: Mapping[SourceName, Mapping[str, Any]] = {
    "kernel": {"generator": "getrandom: the operating system's cryptographic generator"},
    "chacha20": {"generator": "ChaCha20 keyed by getrandom", "reseed-bytes": BLOCK_BYTES},
    "rdseed": {
        "generator": "the RDSEED instruction of the CPU, as it delivers",
        "health-tests": {
            "startup-words": HealthTests.STARTUP_WORDS,
            "window": HealthTests.WINDOW,
            "word-repetition-cutoff": HealthTests.WORD_REPETITIONS,
            "word-proportion-cutoff": HealthTests.WORD_PROPORTION,
            "byte-proportion-cutoff": HealthTests.BYTE_PROPORTION,
        },
    },
}
