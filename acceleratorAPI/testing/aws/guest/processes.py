"""Starting and finding processes on the instance; those of a unit are known by the INVOCATION_ID they inherit."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from acceleratorAPI.testing.aws.guest import kernel

# What every program of the instance finds in its environment.
BASE = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
EXEC_FAILED = 203
_USER_FAILED = 217
_CAPABILITIES = {
    "CAP_KILL": 5,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_BOOT": 22,
}


@dataclass(frozen=True)
class Start:
    """How a process is started.

    Attributes:
        output: descriptor of its standard output and error.
        user: a name of the instance's /etc/passwd; ``None`` for root.
        capabilities: that it has although it is not root.
    """

    arguments: list[str]
    environment: Mapping[str, str]
    output: int
    folder: str = "/"
    user: str | None = None
    group: str | None = None
    capabilities: tuple[str, ...] = ()


def spawn(start: Start) -> int:
    """The pid of a new process, leader of a session of its own."""
    pid = os.fork()
    if pid:
        return pid
    try:
        _become(start)
    except BaseException as error:  # noqa: BLE001 - whatever it is, this process must end here
        os.write(2, f"{start.arguments[:1]}: {error}\n".encode())
    os._exit(EXEC_FAILED)


def _become(start: Start) -> None:
    os.setsid()
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(start.output, 1)
    os.dup2(start.output, 2)
    os.closerange(3, 1024)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.chdir(start.folder)
    environment = {**BASE, **start.environment}
    if start.user not in (None, "", "root", "0"):
        _change_user(start)
    os.execvpe(start.arguments[0], start.arguments, environment)  # noqa: S606 - a program, not a shell line


def find_user(user: str, group: str | None) -> tuple[pwd.struct_passwd, int]:
    """The entry of a user, and the group it is to have.

    Raises:
        KeyError: there is no such user or group.
    """
    entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    return entry, grp.getgrnam(group).gr_gid if group else entry.pw_gid


def user_environment(user: str) -> dict[str, str]:
    """What a service with ``User=`` finds in its environment; nothing for a user there is not."""
    with contextlib.suppress(KeyError):
        entry, _ = find_user(user, None)
        return {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name, "SHELL": entry.pw_shell}
    return {}


def _change_user(start: Start) -> None:
    try:
        entry, group = find_user(start.user or "root", start.group)
    except KeyError:
        os.write(2, f"no such user or group: {start.user} {start.group or ''}\n".encode())
        os._exit(_USER_FAILED)
    numbers = [_CAPABILITIES[name] for name in start.capabilities if name in _CAPABILITIES]
    # In a user namespace of a user who is not root there is nobody else to become.
    with contextlib.suppress(OSError):
        os.initgroups(entry.pw_name, group)
        os.setgid(group)
        kernel.keep_capabilities(numbers)
        os.setuid(entry.pw_uid)
        if numbers:
            kernel.raise_ambient(numbers)


def members(invocation: str) -> list[int]:
    """The living processes that inherited this INVOCATION_ID."""
    wanted, found = f"INVOCATION_ID={invocation}".encode(), []
    for folder in Path("/proc").glob("[1-9]*"):
        with contextlib.suppress(OSError):
            state = (folder / "stat").read_bytes().rpartition(b") ")[2][:1]
            if state != b"Z" and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def signal_all(pids: list[int], number: int) -> None:
    """Send a signal to those that still are."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)
