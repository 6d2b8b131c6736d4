"""The function ``aclz_tgz``: gzip, tar and tar+gzip, of a file, of a folder, or of files added call by call."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import AfterValidator, Field
from typing_extensions import override

from acceleratorAPI.drivers.base import FolderSource, Measurement, Source, Target
from acceleratorAPI.drivers.cpu import BACKEND, BlockKernel, run_blocks
from acceleratorAPI.drivers.ends import Intake, Outlet
from acceleratorAPI.errors import FunctionFailedError, InputError, ParameterError, StateError
from acceleratorAPI.functions.base import Function, Outcome, Parameters
from acceleratorAPI.functions.cast_gzip import DeflateKernel, GzipParameters, MemberKernel
from acceleratorAPI.functions.inputs import SourceInfo, source_info
from acceleratorAPI.functions.members import Member, header
from acceleratorAPI.functions.transaction import State, Transaction
from acceleratorAPI.protocol.cards import Card

if TYPE_CHECKING:
    from typing_extensions import Buffer

GZIP, TAR, TAR_GZIP = 1, 2, 3
_COPY_BYTES = 1 << 20


def _member_name(name: str) -> str:
    """The one spelling of a member's path."""
    if not name:
        raise ValueError("is empty; leave it out for the file's own name")
    if "\0" in name:
        raise ValueError("use a name without zero bytes")
    if name.startswith("/") or ".." in name.split("/"):
        raise ValueError("use a relative path without '..'")
    if name.endswith(("/", "/.")) or name == ".":
        raise ValueError("names a folder; name the file in it, like 'folder/file'")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


class TgzConfigureParameters(Parameters):
    """Parameters of ``start``."""

    mode: int = Field(TAR_GZIP, ge=1, le=3, description="1 gzip, 2 tar, 3 tar and gzip.")


class TgzParameters(GzipParameters):
    """Parameters of ``process``: those of ``cast_gzip``, and these."""

    startOfTx: int | None = Field(  # noqa: N815 - the historical name
        None, ge=0, le=1, description="1: this call begins an archive that later calls go on with."
    )
    endOfTx: int | None = Field(  # noqa: N815 - the historical name
        None, ge=0, le=1, description="1: this call's file is the last, the archive is given. Neither: all in one call."
    )
    deterministic: bool = Field(
        False, description="The same bytes for every copy: times 0, no owners, modes 755 or 644."
    )
    name: Annotated[str, AfterValidator(_member_name)] | None = Field(
        None, description="Of the file in the archive; by default its own."
    )

    @property
    def place(self) -> tuple[bool, bool]:
        """Whether the call is the first and whether it is the last. One given alone leaves 0 for the other."""
        if self.startOfTx is None and self.endOfTx is None:
            return True, True
        return bool(self.startOfTx), bool(self.endOfTx)


class _Counting(Protocol):
    """A source that counts what it read of the user's input."""

    bytes_in: int

    def readinto(self, buffer: memoryview, /) -> int | None: ...


class _Part(BlockKernel[tuple[int, int]]):
    """Deflates a part of a gzip file: only the first writes its head, only the last its tail."""

    def __init__(self, parameters: TgzParameters, before: State, *, last: bool) -> None:
        make = MemberKernel if parameters.form == "members" else DeflateKernel
        self.deflate = make(parameters.level, parameters.block_size)
        self.deflate.crc32, self.deflate.size_bytes = before.crc32, before.plain_bytes
        self.block_size, self.lookbehind = self.deflate.block_size, self.deflate.lookbehind
        self._first, self._last = before.size_bytes == 0, last

    @override
    def head(self) -> bytes:
        return self.deflate.head() if self._first else b""

    @override
    def run(self, window: memoryview, start: int) -> tuple[Buffer, tuple[int, int]]:
        return self.deflate.run(window, start)

    @override
    def collect(self, note: tuple[int, int]) -> None:
        self.deflate.collect(note)

    @override
    def tail(self) -> bytes:
        return self.deflate.tail() if self._last else b""


@dataclass(frozen=True, slots=True)
class _Addition:
    """What one call adds: plain bytes of the archive, the user's name for them, how many members they are.

    The name of a folder ends in '/'.
    """

    name: str
    source: _Counting
    members: int | None = None  # None: ask the folder at its end
    folder: FolderSource | None = None

    def count(self) -> int:
        return self.members if self.members is not None else self.folder.entries if self.folder is not None else 0


class Tgz(Function[TgzConfigureParameters, TgzParameters]):
    """Makes gzip files and tar archives."""

    card = Card(
        name="aclz_tgz",
        title="Tar and gzip of files and folders",
        description=(
            "Packs a file or a whole folder into a tar archive (POSIX pax), a compressed one, or compresses a file to "
            "gzip, deflated on all cores with Intel ISA-L (levels 0 to 3) or zlib-ng (4 to 9). An archive may also "
            "grow file by file: the first call has `startOfTx` 1, the last has `endOfTx` 1 and gives the archive. What "
            "is added is safe against a crash of the worker and a restart of the node."
        ),
        version="1.0",
        folder=True,
        output="optional",
        limits=(
            "Times are kept to the second, extended attributes and access control lists not at all; no sockets.",
            "Holes of a sparse file are stored as the zeros they read as.",
            "One archive at a time grows in one configuration; calls that add to it wait for each other.",
        ),
    )
    configure_parameters = TgzConfigureParameters
    process_parameters = TgzParameters

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._mode = TAR_GZIP

    @override
    def configure(self, parameters: TgzConfigureParameters, datafile: Path | None) -> Mapping[str, Any]:
        self._mode = parameters.mode
        return {}

    @override
    def process(self, source: Source | None, target: Target | None, parameters: TgzParameters) -> Outcome:
        if source is None:
            raise FunctionFailedError("aclz_tgz: needs an input")
        info = source_info(source)
        if self._mode == GZIP:
            if parameters.name is not None:
                raise ParameterError(
                    f"aclz_tgz: name = {parameters.name!r}: mode 1 (gzip) keeps no names; leave it out"
                )
            return self._add(_Addition("", Intake(source), 1), target, parameters)
        with contextlib.ExitStack() as stack:
            if info.size_bytes is None:
                # A tar header tells the size before the content.
                collected = stack.enter_context(tempfile.TemporaryFile(dir=self.scratch))
                source, info = collected, replace(info, size_bytes=_collect(source, collected))
            return self._add(self._file(source, info, parameters), target, parameters)

    @override
    def process_folder(self, source: FolderSource, target: Target | None, parameters: TgzParameters) -> Outcome:
        if self._mode == GZIP:
            raise InputError("aclz_tgz: mode 1 (gzip) takes no folder; start with mode 3 (tar and gzip) for one")
        if parameters.name is not None:
            raise ParameterError(f"aclz_tgz: name = {parameters.name!r}: a folder keeps its own; leave it out")
        if parameters.deterministic:
            source.normalise()
        if not parameters.place[1]:
            source.omit_end()
        name = source_info(source).name
        return self._add(_Addition(name and f"{name}/", Intake(source), folder=source), target, parameters)

    def _file(self, source: Source, info: SourceInfo, parameters: TgzParameters) -> _Addition:
        name = parameters.name or info.name or "data"
        size_bytes = info.size_bytes or 0
        head = header(name, info, size_bytes, deterministic=parameters.deterministic)
        return _Addition(name, Member(head, source, size_bytes, last=parameters.place[1]), 1)

    def _add(self, addition: _Addition, target: Target | None, parameters: TgzParameters) -> Outcome:
        first, last = parameters.place
        transaction = Transaction(self.scratch)
        if first and last:
            state = transaction.state
            _check_order(None if state is None or state.given else state, first=True)
            return self._finish(addition, State(), None, target, parameters)
        if parameters.form != "single":
            raise ParameterError(
                f"aclz_tgz: form = {parameters.form!r}: an archive that grows is 'single'; leave it out"
            )
        with transaction:
            before = _check_order(self._open(transaction, first=first), first=first)
            if not last and self.job and before.job == self.job:
                # This very job, begun again after a crash: its part is in.
                return _added(before, addition.source.bytes_in, 0)
            _check_name(addition.name, before.names)
            if not last:
                return self._continue(addition, before, transaction, parameters)
            outcome = self._finish(addition, before, transaction, target, parameters)
            transaction.give(before, self.job)
            return outcome

    def _open(self, transaction: Transaction, *, first: bool) -> State | None:
        """The archive that grows, if there is one; also one that this very job gave before a crash.

        Raises:
            StateError: the call is to go on with one that was given.
        """
        state = transaction.state
        if state is None or not state.given:
            return state
        if self.job and state.job == self.job:
            return replace(state, given=False)
        if not first:
            to = f"to job {state.job}" if state.job else "already"
            raise StateError(
                f"aclz_tgz: no archive is open: the last one was given {to}; begin again with startOfTx=1, or leave "
                "startOfTx and endOfTx out"
            )
        transaction.drop()
        return None

    def _continue(
        self, addition: _Addition, before: State, transaction: Transaction, parameters: TgzParameters
    ) -> Outcome:
        """Add to the archive that grows."""
        started = time.perf_counter()
        with transaction.part(before) as file:
            _, kernel = self._encode(addition, file, before, parameters, last=False)
            size_bytes = file.tell()
        after = before.grown(
            addition.name,
            self.job,
            size_bytes=size_bytes,
            plain_bytes=kernel.size_bytes if kernel else size_bytes,
            crc32=kernel.crc32 if kernel else 0,
            members=addition.count(),
        )
        transaction.commit(after)
        elapsed_s = time.perf_counter() - started
        return _added(after, addition.source.bytes_in, size_bytes - before.size_bytes, elapsed_s)

    def _finish(
        self,
        addition: _Addition,
        before: State,
        transaction: Transaction | None,
        target: Target | None,
        parameters: TgzParameters,
    ) -> Outcome:
        """Give the archive: what there is of it, and the last part."""
        if target is None:
            raise FunctionFailedError("aclz_tgz: needs an output for the archive")
        started = time.perf_counter()
        if transaction is not None:
            with transaction.begun(before) as file:
                _copy(file, target, before.size_bytes)
        size_bytes, _ = self._encode(addition, target, before, parameters, last=True)
        elapsed_s = time.perf_counter() - started
        measurement = Measurement(BACKEND, elapsed_s, addition.source.bytes_in, before.size_bytes + size_bytes)
        return Outcome(measurement, {"members": before.members + addition.count(), "complete": 1})

    def _encode(
        self, addition: _Addition, target: Target, before: State, parameters: TgzParameters, *, last: bool
    ) -> tuple[int, DeflateKernel | None]:
        """Write the part as the mode says: its size in bytes, and the kernel that knows its checksum, if it has one."""
        if self._mode == TAR:
            return _copy(addition.source, target), None
        part = _Part(parameters, before, last=last)
        return run_blocks(part, addition.source, target, self.threads).bytes_out, part.deflate


def _added(state: State, bytes_in: int, bytes_out: int, elapsed_s: float = 0.0) -> Outcome:
    """The answer of a call that adds to an archive."""
    measurement = Measurement(BACKEND, elapsed_s, bytes_in, bytes_out)
    return Outcome(measurement, {"members": state.members, "complete": 0}, has_output=False)


def _check_order(state: State | None, *, first: bool) -> State:
    """What the call goes on with.

    Raises:
        StateError: it does not fit what was called before.
    """
    if first and state is not None:
        has = f"{state.members} member{'' if state.members == 1 else 's'}"
        raise StateError(
            f"aclz_tgz: an archive of {has} is open: add to it with startOfTx=0, finish it with startOfTx=0 and "
            "endOfTx=1, or stop to drop it"
        )
    if not first and state is None:
        raise StateError("aclz_tgz: no archive is open: begin one with startOfTx=1, or leave startOfTx and endOfTx out")
    return state or State()


def _check_name(name: str, names: Collection[str]) -> None:
    """See that ``tar`` can unpack ``name`` beside what the archive has.

    Raises:
        InputError: it cannot.
    """
    shown = name.rstrip("/")
    if not shown:  # mode 1 keeps no names
        return
    if shown in names or f"{shown}/" in names:
        way = "rename the folder" if name.endswith("/") else "give this one another name="
        raise InputError(f"aclz_tgz: {shown!r} is in the archive already; {way}")
    parents = shown.split("/")[:-1]
    above = next((path for path in itertools.accumulate(parents, "{}/{}".format) if path in names), None)
    if above is not None:
        raise InputError(f"aclz_tgz: name = {name!r}: {above!r} is a file of the archive; name another folder")
    if name == shown and any(other.startswith(f"{name}/") for other in names):
        raise InputError(f"aclz_tgz: {name!r} is a folder of the archive; give this one another name=")


def _copy(source: Source, target: Target, size_bytes: int | None = None) -> int:
    """Copy the source, or its first ``size_bytes``; how many bytes it had."""
    intake, outlet = Intake(source), Outlet(target)
    buffer = memoryview(bytearray(_COPY_BYTES))
    while True:
        wanted = _COPY_BYTES if size_bytes is None else min(_COPY_BYTES, size_bytes - intake.bytes_in)
        count = intake.readinto(buffer[:wanted]) if wanted else 0
        if count == 0:
            return outlet.bytes_out
        outlet.write(buffer[:count])


def _collect(source: Source, file: IO[bytes]) -> int:
    """Put all of ``source`` into ``file``, to be read from its start; its size in bytes."""
    size_bytes = _copy(source, file)
    file.seek(0)
    return size_bytes
