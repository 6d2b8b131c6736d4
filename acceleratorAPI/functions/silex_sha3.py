"""The function ``silex_sha3``: SHA-3 and SHAKE digests of a file, or of every file of a folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from typing_extensions import override

from acceleratorAPI.drivers.base import FolderSource, Source, Target
from acceleratorAPI.drivers.cpu import BlockKernel, run_blocks
from acceleratorAPI.drivers.fold import NoTarget, run_fold
from acceleratorAPI.errors import FunctionFailedError, InputError
from acceleratorAPI.functions.base import Function, NoParameters, Outcome, Parameters
from acceleratorAPI.native._kernels import Sha3, Sha3Folder, Sha3Region, TarStreamError
from acceleratorAPI.protocol.cards import Card

if TYPE_CHECKING:
    from typing_extensions import Buffer

Kind = Literal["sha3-224", "sha3-256", "sha3-384", "sha3-512", "shake-128", "shake-256"]
Digests = list[tuple[bytes, bytes, bytes | None]]

_DIGEST_BYTES = {"sha3-224": 28, "sha3-256": 32, "sha3-384": 48, "sha3-512": 64}
# The lengths at which SHAKE has its full strength against collisions, as RFC 8702 fixes them.
_USUAL_SHAKE_BYTES = {"shake-128": 32, "shake-256": 64}
_LONGEST_SHAKE_BYTES = 65_536

# Large enough that the reader may lose its core for a few milliseconds without the hash running dry.
_BLOCK = 4 << 20

# Room for some dozens of usual files side by side in one region, within 48 MiB for all the regions in flight.
_LARGEST_REGION = 4 << 20
_SMALLEST_REGION = 1 << 20
_REGIONS_TOTAL = 48 << 20


class Sha3Parameters(Parameters):
    """Parameters of ``process``."""

    type: Kind = Field(
        "sha3-256",
        description="Which function of FIPS 202; in either case, with - or _, shake128 or shake-128.",
    )
    length: int | None = Field(
        None,
        ge=0,
        le=_LONGEST_SHAKE_BYTES,
        description="Bytes of SHAKE's output; 32 for shake-128 and 64 for shake-256 if not given. SHA-3 takes none.",
    )

    @field_validator("type", mode="before")
    @classmethod
    def _one_spelling(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        name = value.strip().lower().replace("_", "-")
        return name.replace("shake", "shake-") if name in {"shake128", "shake256"} else name

    @field_validator("length")
    @classmethod
    def _only_for_shake(cls, value: int | None, info: ValidationInfo) -> int | None:
        kind = info.data.get("type")
        if value is not None and kind in _DIGEST_BYTES:
            raise ValueError(
                f"a digest of {kind} has {_DIGEST_BYTES[kind]} bytes; leave length out, or take a shake type"
            )
        return value

    @property
    def digest_bytes(self) -> int:
        """How long a digest is."""
        if self.length is not None:
            return self.length
        return _DIGEST_BYTES.get(self.type) or _USUAL_SHAKE_BYTES[self.type]


class FolderKernel(BlockKernel[Digests]):
    """Hashes the files of a tar stream: regions of whole files where it can, each on a thread of its own.

    Attributes:
        digests: of the files, by their paths in the stream.
    """

    def __init__(self, folder: Sha3Folder, threads: int, block_size: int | None = None) -> None:
        by_total = _REGIONS_TOTAL // (threads + 1)
        self.block_size = block_size or max(_SMALLEST_REGION, min(_LARGEST_REGION, by_total))
        self.digests: dict[str, str] = {}
        self._folder = folder

    @override
    def cut(self, window: memoryview, start: int) -> int:
        return start + self._folder.cut(window[start:])

    @override
    def plan(self, window: memoryview, start: int) -> Callable[[], tuple[Buffer, Digests]]:
        region = window[start:]
        return partial(self._hash, self._folder.plan(region), region)

    @override
    def run(self, window: memoryview, start: int) -> tuple[Buffer, Digests]:
        return self.plan(window, start)()

    @override
    def collect(self, note: Digests) -> None:
        for path, target, digest in note:
            name = _text(path)
            if name in self.digests:
                raise InputError(f"silex_sha3: the folder's tar stream has {name!r} twice")
            if digest is not None:
                self.digests[name] = digest.hex()
            elif _text(target) in self.digests:
                self.digests[name] = self.digests[_text(target)]
            else:
                raise InputError(
                    f"silex_sha3: {name!r} is a hard link to {_text(target)!r}, which did not come before it"
                )

    @staticmethod
    def _hash(planned: Sha3Region, region: memoryview) -> tuple[Buffer, Digests]:
        return b"", planned.run(region)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


class SilexSha3(Function[NoParameters, Sha3Parameters]):
    """The digest of a file of any size, or the digests of all files of a folder."""

    card = Card(
        name="silex_sha3",
        title="SHA-3 and SHAKE digests",
        description=(
            "Computes the digest of a file with a function of FIPS 202: SHA3-224, -256, -384, -512, SHAKE128 or "
            "SHAKE256. A folder gives the digest of each of its files in one job: several are hashed side by side in "
            "the vector lanes of each core. The digest is in the answer; there is no output file."
        ),
        version="1.0",
        folder=True,
        output="none",
        limits=(
            "One file is hashed on one core, whatever its size: each block of SHA-3 needs the one before.",
            f"A folder has at most {Sha3Folder.most_files:,} files, and 32 MiB of paths and digests.",
            "Symbolic links, devices and the folders in a folder have no digest; the answer counts them.",
            f"SHAKE gives at most {_LONGEST_SHAKE_BYTES:,} bytes.",
        ),
    )
    process_parameters = Sha3Parameters

    @override
    def process(self, source: Source | None, target: Target | None, parameters: Sha3Parameters) -> Outcome:
        if source is None:
            raise FunctionFailedError("silex_sha3: needs an input")
        sha3 = Sha3(parameters.type, parameters.digest_bytes)
        measurement = run_fold(sha3.update, source, _BLOCK)
        return Outcome(measurement, {"type": parameters.type, "digest": sha3.digest().hex()})

    @override
    def process_folder(self, source: FolderSource, target: Target | None, parameters: Sha3Parameters) -> Outcome:
        folder = Sha3Folder(parameters.type, parameters.digest_bytes)
        kernel = FolderKernel(folder, self.threads)
        try:
            measurement = run_blocks(kernel, source, NoTarget(), self.threads)
            folder.finish()
        except TarStreamError as error:
            offset, reason = error.args
            raise InputError(f"silex_sha3: the folder's tar stream, byte {offset}: {reason}") from None
        specific: dict[str, Any] = {
            "type": parameters.type,
            "files": len(kernel.digests),
            "passed-over": folder.passed_over,
            "digests": kernel.digests,
        }
        return Outcome(measurement, specific)
