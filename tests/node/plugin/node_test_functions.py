"""Functions the node's tests run: they copy, wait, fail and crash on request."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from acceleratorAPI.drivers.base import FolderSource, Measurement, Source, Target
from acceleratorAPI.errors import DatafileError, FunctionFailedError
from acceleratorAPI.functions.base import Function, NoParameters, Outcome, Parameters
from acceleratorAPI.functions.inputs import source_info
from acceleratorAPI.protocol.cards import Card


def card(name: str, **values: Any) -> Card:
    return Card(name=name, title=f"{name} for tests", description="For tests.", version="1.0", **values)


def copy(source: Source, target: Target | None, table: bytes | None = None) -> tuple[int, int]:
    buffer = bytearray(1 << 18)
    bytes_in = bytes_out = 0
    while count := source.readinto(memoryview(buffer)):
        bytes_in += count
        data = bytes(buffer[:count])
        if target is not None:
            view = memoryview(data.translate(table) if table else data)
            while view:
                written = target.write(view) or 0
                bytes_out += written
                view = view[written:]
    return bytes_in, bytes_out


def outcome(started: float, bytes_in: int, bytes_out: int, **specific: Any) -> Outcome:
    return Outcome(Measurement("cpu", time.perf_counter() - started, bytes_in, bytes_out), specific)


class Copy(Function[NoParameters, NoParameters]):
    card = card("test_copy")

    def process(self, source: Source | None, target: Target | None, parameters: NoParameters) -> Outcome:
        started = time.perf_counter()
        assert source is not None
        assert target is not None
        return outcome(started, *copy(source, target))


class WordsConfigure(Parameters):
    password: str = Field(default="", description="Never shown.")
    level: int = Field(default=1, ge=1, le=9, description="Anything.")


class Words(Function[WordsConfigure, NoParameters]):
    """Replaces one byte by another, as its datafile ``a,b`` says."""

    card = card("test_words", datafile="required", datafile_format="One line a,b.")
    configure_parameters = WordsConfigure

    def configure(self, parameters: WordsConfigure, datafile: Path | None) -> Mapping[str, Any]:
        assert datafile is not None
        line = datafile.read_bytes().strip()
        if len(line) != 3:
            raise DatafileError(f"line 1: {line!r} is not a,b (password {parameters.password})")
        self.table = bytes.maketrans(line[:1], line[2:])
        if parameters.password:
            return {"secured": 1}
        return {"warning": "no password"}

    def process(self, source: Source | None, target: Target | None, parameters: NoParameters) -> Outcome:
        started = time.perf_counter()
        assert source is not None
        assert target is not None
        return outcome(started, *copy(source, target, self.table), pid=os.getpid())


class SlowParameters(Parameters):
    seconds: float = Field(default=60, ge=0, description="How long to take.")
    then: Literal["end", "exit", "kill"] = Field(default="end", description="How to end.")


class Slow(Function[NoParameters, SlowParameters]):
    """Reads a little, waits, then copies or dies."""

    card = card("test_slow")
    process_parameters = SlowParameters

    def process(self, source: Source | None, target: Target | None, parameters: SlowParameters) -> Outcome:
        started = time.perf_counter()
        assert source is not None
        assert target is not None
        deadline = time.monotonic() + parameters.seconds
        buffer = memoryview(bytearray(1))
        bytes_in = bytes_out = 0
        while time.monotonic() < deadline:
            count = source.readinto(buffer) or 0
            bytes_in += count
            bytes_out += target.write(buffer[:count]) or 0
            time.sleep(0.05)
        if parameters.then == "exit":
            os._exit(3)
        if parameters.then == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        rest_in, rest_out = copy(source, target)
        return outcome(started, bytes_in + rest_in, bytes_out + rest_out, pid=os.getpid())


class SilentParameters(Parameters):
    seconds: float = Field(ge=0, description="How long to say nothing.")


class Silent(Function[NoParameters, SilentParameters]):
    """Waits without a byte, then copies."""

    card = card("test_silent")
    process_parameters = SilentParameters

    def process(self, source: Source | None, target: Target | None, parameters: SilentParameters) -> Outcome:
        started = time.perf_counter()
        assert source is not None
        assert target is not None
        time.sleep(parameters.seconds)
        return outcome(started, *copy(source, target))


class FailParameters(Parameters):
    how: Literal["typed", "untyped", "unserialisable"] = Field(default="typed", description="What to raise.")
    token: str = Field(default="", description="Goes into the error's text.")


class Fail(Function[NoParameters, FailParameters]):
    card = card("test_fail")
    process_parameters = FailParameters

    def process(self, source: Source | None, target: Target | None, parameters: FailParameters) -> Outcome:
        assert target is not None
        target.write(memoryview(b"partial"))
        if parameters.how == "typed":
            raise FunctionFailedError(f"no luck with {parameters.token}")
        if parameters.how == "untyped":
            raise RuntimeError(f"first line\nsecond line {parameters.token}")
        return outcome(0.0, 0, 0, value=object())


class Count(Function[NoParameters, NoParameters]):
    """Takes a file and gives none."""

    card = card("test_count", output="none")

    def process(self, source: Source | None, target: Target | None, parameters: NoParameters) -> Outcome:
        started = time.perf_counter()
        assert source is not None
        assert target is None
        bytes_in, _ = copy(source, None)
        return outcome(started, bytes_in, 0, count=bytes_in)


class BytesParameters(Parameters):
    count: int = Field(ge=0, le=1 << 20, description="How many bytes.")


class Bytes(Function[NoParameters, BytesParameters]):
    """Takes no file and gives one."""

    card = card("test_bytes", input="none")
    process_parameters = BytesParameters

    def process(self, source: Source | None, target: Target | None, parameters: BytesParameters) -> Outcome:
        started = time.perf_counter()
        assert source is None
        assert target is not None
        return outcome(started, 0, target.write(memoryview(b"x" * parameters.count)) or 0)


class HostileParameters(Parameters):
    what: str = Field(description="Which attack.")
    path: str = Field(default="", description="On what.")


class Hostile(Function[NoParameters, HostileParameters]):
    """Tries what no function should; answers with what the system said."""

    card = card("test_hostile", input="optional")
    process_parameters = HostileParameters

    def process(self, source: Source | None, target: Target | None, parameters: HostileParameters) -> Outcome:
        try:
            said = str(getattr(self, parameters.what)(parameters.path))
        except OSError as error:
            said = errno.errorcode[error.errno or 0]
        if target is not None:
            target.write(memoryview(b"done"))
        return outcome(0.0, 0, 0, said=said)

    def inet(self, path: str) -> str:
        socket.create_connection(("127.0.0.1", int(path)), 5).close()
        return "connected"

    def make_socket(self, path: str) -> str:
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK):
            with contextlib.suppress(PermissionError):
                socket.socket(family).close()
                return family.name
        return "EACCES"

    def pair(self, path: str) -> str:
        for end in socket.socketpair():
            end.close()
        return "paired"

    def environment(self, path: str) -> str:
        return Path("/proc/self/environ").read_text().replace("\0", " ")

    def write(self, path: str) -> str:
        Path(path).write_bytes(b"hostile")
        return "written"

    def read(self, path: str) -> str:
        Path(path).read_bytes()
        return "read"

    def list(self, path: str) -> str:
        return str(len(os.listdir(path)))

    def ask(self, path: str) -> str:
        """Finds the worker's link to its node, and asks for the file of an output."""
        frame = sys._getframe()
        while (
            link := next((value for value in frame.f_locals.values() if type(value).__name__ == "Link"), None)
        ) is None:
            assert frame.f_back is not None
            frame = frame.f_back
        link.open_output()
        return "given"

    def leak(self, path: str) -> str:
        with contextlib.suppress(OSError):
            while True:
                os.dup(0)
        return "leaked"

    def remove(self, path: str) -> str:
        os.unlink(path)
        return "removed"

    def signal_node(self, path: str) -> str:
        os.kill(os.getppid(), 0)
        return "signalled"

    def memory_of_node(self, path: str) -> str:
        with open(f"/proc/{os.getppid()}/mem", "rb"):
            return "opened"

    def core(self, path: str) -> str:
        return str(resource.getrlimit(resource.RLIMIT_CORE))

    def privileges(self, path: str) -> str:
        return next(line for line in Path("/proc/self/status").read_text().splitlines() if "NoNewPrivs" in line)

    def child(self, path: str) -> str:
        program = f"import os; open({path!r}, 'w')"
        return str(subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode)

    def temporary(self, path: str) -> str:
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x")
        lock = multiprocessing.Lock()
        with lock:
            return "made"

    def memory(self, path: str) -> str:
        try:
            bytearray(int(path))
        except MemoryError:
            return "MemoryError"
        return "taken"


class KeepParameters(Parameters):
    give: bool = Field(default=True, description="Whether the copy is given back.")
    crash: bool = Field(default=False, description="Die when the work is done.")
    normal: bool = Field(default=False, description="Normalise a folder.")


class Keep(Function[NoParameters, KeepParameters]):
    """Takes a file or folder, remembers its name in the scratch folder, and gives a copy or not."""

    card = card("test_keep", folder=True, output="optional")
    process_parameters = KeepParameters

    def process(self, source: Source | None, target: Target | None, parameters: KeepParameters) -> Outcome:
        started = time.perf_counter()
        assert source is not None
        info = source_info(source)
        copied = copy(source, target)
        with (self.scratch / "names").open("a") as names:
            print(info.name, info.size_bytes, info.status is not None, sep=",", file=names)
        if parameters.crash:
            os.kill(os.getpid(), signal.SIGKILL)
        measured = Measurement("cpu", time.perf_counter() - started, *copied)
        kept = (self.scratch / "names").read_text().split()
        return Outcome(measured, {"kept": kept, "pid": os.getpid()}, has_output=parameters.give)

    def process_folder(self, source: FolderSource, target: Target | None, parameters: KeepParameters) -> Outcome:
        if parameters.normal:
            source.normalise()
        return self.process(source, target, parameters)
