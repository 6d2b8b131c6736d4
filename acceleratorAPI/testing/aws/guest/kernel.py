"""System calls of Linux that Python 3.11 lacks: namespaces, mounts, capabilities, addresses of the loopback."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 32, 4096, 16384, 1 << 18

_MNT_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER = 1, 8, 24, 36
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAPABILITY_VERSION_3 = 47, 2, 0x20080522
# Loading modules, touching I/O ports and disks, setting the clock, and the host's log: what would reach the host.
_DANGEROUS = (16, 17, 25, 27, 34, 35)
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _IFF_UP = 0x8913, 0x8914, 0x8916, 1

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Move to new namespaces; the flags are those of the system call."""
    _checked(_libc.unshare(flags), f"unshare {flags:#x}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount a file system; the arguments are those of the system call."""
    done = _libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, options.encode() or None)
    _checked(done, f"mount {source} on {target}")


def bind(source: str, target: str, *, read_only: bool = False, recursive: bool = False) -> None:
    """Show a file or folder at a second place too."""
    mount(source, target, "", MS_BIND | (MS_REC if recursive else 0))
    if read_only:
        mount(source, target, "", MS_BIND | MS_REMOUNT | MS_RDONLY)


def enter_root(folder: str) -> None:
    """Make ``folder``, a mount point, the root; what was there before is gone."""
    os.chdir(folder)
    _checked(_libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    _checked(_libc.umount2(b".", _MNT_DETACH), "umount of the old root")
    os.chdir("/")


def set_host_name(name: str) -> None:
    """Name this UTS namespace."""
    _checked(_libc.sethostname(name.encode(), len(name)), "sethostname")


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that made it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def drop_dangerous_capabilities() -> None:
    """Programs started from here on cannot load modules, make device files, set the clock or touch I/O ports."""
    for capability in _DANGEROUS:
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def keep_capabilities(numbers: list[int]) -> None:
    """Before a change of user: these capabilities outlive it; ``raise_ambient`` follows."""
    if numbers:
        _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)


def raise_ambient(numbers: list[int]) -> None:
    """Have programs that this process becomes hold exactly these capabilities, though it is not root."""
    mask = sum(1 << number for number in numbers)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = struct.pack("6I", low, low, low, high, high, high)
    _checked(_libc.capset(struct.pack("Ii", _CAPABILITY_VERSION_3, 0), data), "capset")
    for number in numbers:
        _checked(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0), f"ambient capability {number}")


def raise_loopback(addresses: list[str]) -> None:
    """Bring ``lo`` of this network namespace up, with these IPv4 addresses besides 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for number, address in enumerate(addresses):
            packed = struct.pack("16sH2s4s8x", b"lo:%d" % number, socket.AF_INET, b"", socket.inet_aton(address))
            fcntl.ioctl(control, _SIOCSIFADDR, packed)
        current = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        flags = struct.unpack("16sH14x", current)[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
