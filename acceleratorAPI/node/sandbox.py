"""What a worker process gives up before it runs anything: privileges, the network, files that are not its jobs'.

By system calls of Linux alone, no root needed; each is used where the kernel has it. Must run before the process has
a second thread. Landlock: https://docs.kernel.org/userspace-api/landlock.html; seccomp: seccomp(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import platform
import resource
import struct
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from acceleratorAPI.errors import ConfigurationError

Mode = Literal["auto", "off", "require"]
# What --sandbox require insists on; the others come with them or are always there.
NETWORK, FILES = "no network", "files"

_DESCRIPTORS = 4096
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_CAPABILITY_VERSION_3 = 0x20080522
# CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID: what makes root's jobs able to use other users' files.
_OF_FILES = 0b11111

# Landlock's system calls have the same numbers on every machine; its rights by the version that brought them.
_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_TCP, _SCOPED = 0b11, 0b11
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_A_FILE = _EXECUTE | _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV

# What programs and libraries look at; nothing of a user's.
_SYSTEM = (
    "/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/opt", "/nix/store", "/proc", "/sys", "/dev/random",
    "/dev/urandom", "/etc/alternatives", "/etc/group", "/etc/host.conf", "/etc/ld.so.cache", "/etc/ld.so.conf",
    "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/os-release", "/etc/passwd",
    "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/timezone",
)  # fmt: skip
# Shared memory is what Python's multiprocessing makes its locks of.
_WRITABLE_SYSTEM = ("/dev/null", "/dev/zero", "/dev/full", "/dev/shm")  # noqa: S108 - not a temporary file


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a worker is left with.

    Attributes:
        mode: ``off`` leaves it everything but core dumps; ``require`` fails where a protection is missing.
        writable: files and folders it may change.
        readable: files and folders it may read.
        temporary: its folder for temporary files, which is made.
        memory_bytes: of address space; ``None`` for no limit.
    """

    mode: Mode = "auto"
    writable: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    temporary: str | None = None
    memory_bytes: int | None = None


def enter(sandbox: Sandbox) -> list[str]:
    """Give up what ``sandbox`` says; the protections now in force, in words.

    Raises:
        ConfigurationError: one is missing that the mode requires.
    """
    found = _limit(sandbox.memory_bytes)
    writable = sandbox.writable
    if sandbox.temporary is not None:
        # In a folder of the node's, which is not made again when the node has removed all it kept.
        with contextlib.suppress(FileExistsError):
            os.mkdir(sandbox.temporary, mode=0o700)
        os.environ["TMPDIR"] = sandbox.temporary
        writable = (*writable, sandbox.temporary)
    if sandbox.mode == "off":
        return found
    libc = ctypes.CDLL(None)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        found.append("no new privileges")
    alone = _leave_network(libc)
    if os.geteuid() == 0 and _set_capabilities(libc, _OF_FILES):
        found.append("root over files only")
    if alone:
        found.append("own network namespace")
    shut = _refuse_sockets(libc)
    if shut:
        found.append("no sockets")
    if alone or shut:
        found.append(NETWORK)
    if _restrict_files(libc, writable, sandbox.readable):
        # Below "/" everything is allowed.
        found.append("everything is a job's file" if "/" in sandbox.writable else FILES)
    missing = [name for name in (NETWORK, FILES) if name not in found]
    if sandbox.mode == "require" and missing:
        raise ConfigurationError(
            f"--sandbox require: missing here: {', '.join(missing)} (in force: {', '.join(found)}); a kernel with"
            " Landlock (5.13 or newer) is needed, and --files-under that is not /"
        )
    return found


def check_required(sandbox: Sandbox) -> None:
    """See, in a process of its own, that everything is there.

    Raises:
        ConfigurationError: something is missing.
    """
    program = "import json, sys; from acceleratorAPI.node.sandbox import *; enter(Sandbox(**json.loads(sys.argv[1])))"
    path_option = ["-P"] if sys.flags.safe_path else []
    tried = subprocess.run(
        [sys.executable, *path_option, "-c", program, json.dumps(asdict(sandbox))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        reason = tried.stderr.strip().rpartition("\n")[2]
        raise ConfigurationError(reason.partition("ConfigurationError: ")[2] or f"--sandbox require: {reason}")


def _limit(memory_bytes: int | None) -> list[str]:
    # A core would hold the files and secrets of jobs.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if memory_bytes is None:
        return ["no core dumps"]
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    return ["no core dumps", f"{memory_bytes} bytes of memory"]


def _leave_network(libc: ctypes.CDLL) -> bool:
    """Move to a network namespace in which nothing is connected."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        # Root keeps its right to other users' files, which it would lose in a user namespace.
        return bool(libc.unshare(_CLONE_NEWNET) == 0)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    for name, text in (
        ("setgroups", b"deny"),
        ("uid_map", b"%d %d 1" % (uid, uid)),
        ("gid_map", b"%d %d 1" % (gid, gid)),
    ):
        with contextlib.suppress(OSError), open(f"/proc/self/{name}", "wb", buffering=0) as file:
            file.write(text)
    # The new namespace came with every capability inside of it.
    _set_capabilities(libc, 0)
    return True


def _set_capabilities(libc: ctypes.CDLL, mask: int) -> bool:
    """Keep the capabilities of ``mask`` and no other: root's would open other processes' environments, say."""
    data = struct.pack("6I", mask, mask, 0, 0, 0, 0)
    return bool(libc.capset(struct.pack("Ii", _CAPABILITY_VERSION_3, 0), data) == 0)


def _refuse_sockets(libc: ctypes.CDLL) -> bool:
    """Refuse to make sockets, local ones too (of a container service, say); pairs of them are for oneself."""
    numbers = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}.get(platform.machine())
    if numbers is None or sys.maxsize < 1 << 32:
        return False
    architecture, socket_call = numbers
    io_uring_setup = 425  # can make sockets as well
    allow, refuse = 0x7FFF0000, 0x00050000 | errno.EACCES
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    program = [
        (load, 0, 0, 4),
        (equal, 0, 5, architecture),
        (load, 0, 0, 0),
        (equal, 3, 0, socket_call),
        (equal, 2, 0, io_uring_setup),
        # The x32 calls of x86-64 have numbers of their own; no other machine has any up there.
        (at_least, 1, 0, 0x40000000),
        (answer, 0, 0, allow),
        (answer, 0, 0, refuse),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0) == 0)


def _restrict_files(libc: ctypes.CDLL, writable: Iterable[str], readable: Iterable[str]) -> bool:
    """Landlock: reading what Python needs, changing what is the worker's, nothing else; no TCP, no signals out."""
    version = libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    rights = (1 << 13) - 1
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        rights |= right if version >= since else 0
    fields = [rights, *([_TCP] if version >= 4 else []), *([_SCOPED] if version >= 6 else [])]
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    ruleset = libc.syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        for paths, allowed in (
            ((*_readable(), *readable), _READ),
            ((*writable, *_WRITABLE_SYSTEM), rights),
        ):
            for path in paths:
                _allow(libc, ruleset, path, allowed & rights)
        return bool(libc.syscall(_RESTRICT, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights &= -1 if os.path.isdir(path) else _OF_A_FILE
            rule = struct.pack("=Qi", rights, descriptor)
            libc.syscall(_ADD_RULE, ruleset, 1, rule, 0)
        finally:
            os.close(descriptor)


def _readable() -> set[str]:
    """Where Python, this package and the installed functions are."""
    found = {*_SYSTEM, sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(__file__).parents[1])}
    # "python -m" puts the folder it was started in first, which may be anybody's home: it counts only when asked for.
    asked = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    here = os.getcwd()
    found.update(path for path in sys.path if path and (path != here or path in asked))
    for point in entry_points(group="acceleratorAPI.functions"):
        # An editable install lies where its author works, not on the path.
        with contextlib.suppress(ImportError, ValueError, AttributeError):
            spec = find_spec(point.value.partition(":")[0].partition(".")[0])
            if spec is not None:
                found.update(spec.submodule_search_locations or ())
                found.add(spec.origin or "")
    return found - {"", "/"}
