"""The root folder of an instance: /etc, /var, /opt, ... of its own, the host's /usr, changed without changing it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from acceleratorAPI.testing.aws.guest import kernel

OWN = ("etc", "home", "opt", "root", "srv", "tmp", "var")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# Of the host's /etc: nothing secret, nothing that would start by itself.
_LEFT_OUT = shutil.ignore_patterns(
    "shadow*", "gshadow*", "ssh", "private", "systemd", "cron*", "init.d", "rc?.d", "rcS.d", "docker", "kubernetes",
    "pip.conf", "machine-id", "sudoers*", "krb5*", ".*",
)  # fmt: skip
# Kernel settings that scripts write and that belong to the host: files of the instance stand in their place.
_SETTINGS = ("kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "net/core/somaxconn")
_MASKED = ("sysrq-trigger", "uptime")
PROGRAMS = ("systemctl", "systemd-run", "journalctl", "shutdown", "poweroff", "halt", "reboot", "cloud-init")


@dataclass(frozen=True)
class Layout:
    """Where the host keeps what the instance sees.

    Attributes:
        folder: of this instance on the host.
        shown: files and folders of the host that are there at the same path, read-only (Python, this package).
        python: the interpreter that runs the programs in systemd's place.
        links: programs of the image: path to what it runs.
    """

    folder: Path
    shown: tuple[str, ...]
    python: str
    links: dict[str, str] = field(default_factory=dict)

    @property
    def disk(self) -> Path:
        """What survives a stop."""
        return self.folder / "disk"

    @property
    def template(self) -> Path:
        """The /etc that all instances begin with."""
        return self.folder.parent / "etc"


def remove(folder: Path) -> None:
    """Remove a folder of an instance, also what its user may not look into."""
    if os.geteuid() != 0:
        for parent, names, _ in os.walk(folder):
            for name in names:
                path = os.path.join(parent, name)
                if not os.path.islink(path):
                    os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


def make_disk(layout: Layout, files: dict[str, str]) -> None:
    """The disk of a new instance, with ``files`` (path without its slash to text) on it."""
    for name in (*OWN, "usr"):
        (layout.disk / name).mkdir(parents=True, exist_ok=True)
    (layout.disk / "tmp").chmod(0o1777)
    for folder in ("etc/systemd/system", "var/log", "var/lib/cloud/instance", "var/tmp", "var/cache"):
        (layout.disk / folder).mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        place = layout.disk / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    for path, target in layout.links.items():
        _program(layout.disk / path.lstrip("/"), f'exec {target} "$@"')
    with contextlib.suppress(FileExistsError):
        (layout.disk / "var/run").symlink_to("/run")
    _make_programs(layout)


def make_template(target: Path) -> None:
    """A copy of the host's /etc that an instance can begin with."""

    def readable(folder: str, names: list[str]) -> set[str]:
        left = set(_LEFT_OUT(folder, names))
        return left | {name for name in names if not os.access(os.path.join(folder, name), os.R_OK)}

    with contextlib.suppress(shutil.Error):
        shutil.copytree("/etc", target, symlinks=True, ignore=readable)
    (target / "shadow").write_text("root:*:19000:0:99999:7:::\n", encoding="ascii")
    (target / "gshadow").write_text("root:*::\n", encoding="ascii")


def complete_etc(layout: Layout) -> None:
    """Copy what of the template is not on the disk, where it cannot be laid under it."""

    def copy(source: str, target: str) -> None:
        if not os.path.lexists(target):
            shutil.copy2(source, target, follow_symlinks=False)

    shutil.copytree(layout.template, layout.disk / "etc", symlinks=True, dirs_exist_ok=True, copy_function=copy)


def _program(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)


def _make_programs(layout: Layout) -> None:
    client = Path(__file__).with_name("client.py")
    for name in PROGRAMS:
        _program(layout.folder / "programs" / "bin" / name, f'exec {layout.python} -IS {client} {name} "$@"')
        with contextlib.suppress(FileExistsError):
            (layout.folder / "programs" / "sbin").mkdir(exist_ok=True)
            (layout.folder / "programs" / "sbin" / name).symlink_to(f"../bin/{name}")
    if not Path("/usr/bin/python3").exists():
        _program(layout.folder / "programs" / "bin" / "python3", f'exec {sys._base_executable} "$@"')  # type: ignore[attr-defined]


def enter(layout: Layout, name: str, *, in_user_namespace: bool) -> None:
    """Mount everything and make it this process's root. In a mount namespace of its own only."""
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    new = layout.folder / "root"
    new.mkdir(exist_ok=True)
    kernel.mount("tmpfs", str(new), "tmpfs", kernel.MS_NOSUID, "mode=755")
    for folder in OWN:
        (new / folder).mkdir()
        if folder == "etc":
            _mount_etc(layout, new, in_user_namespace)
        else:
            kernel.bind(str(layout.disk / folder), str(new / folder))
    _mount_usr(layout, new, in_user_namespace)
    _mount_system(layout, new, in_user_namespace)
    for path in layout.shown:
        _show(path, new)
    (new / "run/emulator").mkdir()
    kernel.set_host_name(name)
    kernel.enter_root(str(new))


def _mount_etc(layout: Layout, new: Path, in_user_namespace: bool) -> None:
    work = layout.folder / "work-etc"
    work.mkdir(exist_ok=True)
    options = f"lowerdir={layout.template},upperdir={layout.disk / 'etc'},workdir={work}"
    try:
        kernel.mount("overlay", str(new / "etc"), "overlay", 0, options + ",userxattr" * in_user_namespace)
    except OSError:
        complete_etc(layout)
        kernel.bind(str(layout.disk / "etc"), str(new / "etc"))


def _mount_usr(layout: Layout, new: Path, in_user_namespace: bool) -> None:
    (new / "usr").mkdir()
    work = layout.folder / "work"
    work.mkdir(exist_ok=True)
    lower = f"lowerdir={layout.folder / 'programs'}:/usr"
    upper = f",upperdir={layout.disk / 'usr'},workdir={work}"
    try:
        kernel.mount("overlay", str(new / "usr"), "overlay", 0, lower + upper + ",userxattr" * in_user_namespace)
    except OSError:
        # Where the disk is itself on an overlay, as in a container: /usr is then read-only.
        kernel.mount("overlay", str(new / "usr"), "overlay", kernel.MS_RDONLY, lower)
    for entry in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        host = Path("/", entry)
        if host.is_symlink():
            (new / entry).symlink_to(os.readlink(host))
        elif host.is_dir():
            (new / entry).mkdir()
            kernel.bind(str(host), str(new / entry), read_only=not in_user_namespace)


def _mount_system(layout: Layout, new: Path, in_user_namespace: bool) -> None:
    for folder in ("proc", "sys", "dev", "run", "mnt"):
        (new / folder).mkdir()
    kernel.mount("tmpfs", str(new / "run"), "tmpfs", kernel.MS_NOSUID, "mode=755")
    kernel.mount("proc", str(new / "proc"), "proc")
    # A recursive bind is all that a user namespace may; root leaves out what is mounted below, control groups foremost.
    kernel.bind("/sys", str(new / "sys"), recursive=in_user_namespace, read_only=not in_user_namespace)
    kernel.mount("tmpfs", str(new / "dev"), "tmpfs", kernel.MS_NOSUID, "mode=755")
    for device in _DEVICES:
        (new / "dev" / device).touch()
        kernel.bind(f"/dev/{device}", str(new / "dev" / device))
    (new / "dev/shm").mkdir()
    kernel.mount("tmpfs", str(new / "dev/shm"), "tmpfs", kernel.MS_NOSUID, "mode=1777")
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (new / "dev" / name).symlink_to(f"/proc/self/{target}")
    for name in _MASKED:
        _mask(layout, f"proc/{name}", new, "")
    for name in _SETTINGS:
        with contextlib.suppress(OSError):
            _mask(layout, f"proc/sys/{name}", new, Path("/proc/sys", name).read_text(encoding="ascii"))
    if not in_user_namespace:
        _protect_settings(new)


def _mask(layout: Layout, path: str, new: Path, text: str) -> None:
    """Put a file of the instance over one of the kernel's."""
    own = layout.folder / "masks" / path.replace("/", "-")
    own.parent.mkdir(exist_ok=True)
    own.write_text(text, encoding="ascii")
    if (new / path).exists():
        kernel.bind(str(own), str(new / path))


def _protect_settings(new: Path) -> None:
    """Whatever else is below /proc/sys is the host's; real root could write it."""
    for name in ("sys/dev", "sys/fs", "sys/vm", "sys/kernel"):
        with contextlib.suppress(OSError):
            kernel.bind(str(new / "proc" / name), str(new / "proc" / name), read_only=True, recursive=True)


def _show(path: str, new: Path) -> None:
    if f"{path}/".startswith("/usr/") or not os.path.exists(path):
        return
    target = new / path.lstrip("/")
    if os.path.isdir(path):
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    kernel.bind(path, str(target))
    # Options that a user namespace may not take off (nosuid, ...) would make the remount fail: then it stays writable
    # only as far as the user may write there anyway.
    with contextlib.suppress(OSError):
        kernel.mount(path, str(target), "", kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY)
