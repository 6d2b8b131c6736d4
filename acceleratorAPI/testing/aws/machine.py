"""One instance as the host runs it: its folder, its first process, its wires."""

from __future__ import annotations

import array
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from acceleratorAPI.testing.aws import network, shared, userdata
from acceleratorAPI.testing.aws.guest import root

Isolation = Literal["root", "user", "none"]
_ENDS_WITHIN_S = 20.0
_MESSAGE_BYTES = 1 << 16
_MOST_SOCKETS = 64


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a machine is made with.

    Attributes:
        folder: its own on this host.
        host_ports: of 127.0.0.1 that the instance reaches at the same address; the emulated cloud's first.
        baked: ``/opt/acceleratorapi`` is on its image.
        pip_index: of the package index it is configured for.
        isolation: the namespaces it has: as root makes them, in a user namespace, or none.
        public_ip: its address for good, when it has no network of its own.
    """

    id: str
    folder: Path
    private_ip: str
    user_data: bytes
    host_ports: tuple[int, ...]
    time_scale: float
    baked: bool = False
    pip_index: str = ""
    isolation: Isolation = "root"
    public_ip: str = ""


class Machine:
    """Can be powered on and off; its disk stays until ``discard``."""

    def __init__(
        self,
        hardware: Hardware,
        metadata: Callable[[socket.socket], None],
        allowed: Callable[[int, str], bool],
        off: Callable[[str], None],
    ) -> None:
        """Make the disk.

        Args:
            hardware: what it is made with.
            metadata: answers a connection to 169.254.169.254.
            allowed: whether a rule lets an address connect to a port.
            off: called when the instance went off by itself, with ``poweroff``, ``reboot`` or ``crash``.
        """
        self.hardware = hardware
        self.wire = network.Wire()
        self.ready = threading.Event()
        self._metadata = metadata
        self._allowed = allowed
        self._off = off
        self._launcher: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._first_pid = 0
        self._public: network.PublicAddress | None = None
        self._metadata_server: socket.socket | None = None
        self._numbers = itertools.count()
        self._dials: dict[int, tuple[threading.Event, list[socket.socket]]] = {}
        self._scripts = userdata.scripts(hardware.user_data)
        self._layout = _layout(hardware)
        root.make_disk(self._layout, _files(hardware))
        for number, script in enumerate(self._scripts):
            path = self._layout.disk / "var/lib/cloud/instance/scripts" / f"part-{number:03d}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._own(script.text))
            path.chmod(0o700)
        if hardware.isolation == "none":
            self._make_nothing()

    def _own(self, text: bytes) -> bytes:
        hardware = self.hardware
        return shared.rewrite(text, hardware.folder, hardware.public_ip) if hardware.isolation == "none" else text

    def _make_nothing(self) -> None:
        """Programs that would change the host do nothing."""
        root.complete_etc(self._layout)
        for folder in ("run", "proc"):
            (self._layout.disk / folder).mkdir(exist_ok=True)
        for name in ("uptime", "sysrq-trigger"):
            (self._layout.disk / "proc" / name).touch()
        for name in shared.NOTHING:
            path = self.hardware.folder / "programs/bin" / name
            path.write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
            path.chmod(0o755)

    @property
    def console(self) -> bytes:
        """What it wrote to its console."""
        path = self.hardware.folder / "console.log"
        return path.read_bytes() if path.exists() else b""

    def power_on(self, public_ip: str | None, *, first: bool) -> None:
        """Boot, in the background; ``ready`` is set when its first process runs."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ready.clear()
        self._empty_tmp()
        self._link, self._first_pid = here, 0
        if self.hardware.isolation == "none":
            with contextlib.suppress(OSError):
                self._metadata_server = network.listen(self.hardware.public_ip, shared.METADATA_PORT)
                network.serve(self._metadata_server, self._metadata, "metadata service")
        elif public_ip is not None:
            self._public = network.PublicAddress(public_ip, self.wire, self._dial, self._allowed)
        command = [sys.executable, "-m", "acceleratorAPI.testing.aws.guest.boot", str(there.fileno())]
        with (self.hardware.folder / "console.log").open("ab") as console:
            self._launcher = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=console, stderr=console, pass_fds=[there.fileno()],
                start_new_session=True,
            )  # fmt: skip
        there.close()
        assert self._launcher.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._launcher.stdin as stdin:
            stdin.write(json.dumps(self._settings(first)).encode())
        launcher = self._launcher
        network.start(lambda: self._listen(here, launcher), f"link of {self.hardware.id}")

    def _settings(self, first: bool) -> dict[str, Any]:
        hardware, layout = self.hardware, self._layout
        top = layout.disk if hardware.isolation == "none" else ""
        scripts = [
            {"phase": s.phase, "path": f"{top}/var/lib/cloud/instance/scripts/part-{n:03d}", "instance": hardware.id}
            for n, s in enumerate(self._scripts)
            if first or s.every_boot
        ]
        return {
            "folder": str(layout.folder), "shown": layout.shown, "python": layout.python, "links": layout.links,
            "name": f"ip-{hardware.private_ip.replace('.', '-')}", "private_ip": hardware.private_ip,
            "host_ports": hardware.host_ports, "time_scale": hardware.time_scale, "scripts": scripts,
            "isolation": hardware.isolation,
        }  # fmt: skip

    def _empty_tmp(self) -> None:
        folder = self._layout.disk / "tmp"
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()

    def power_off(self) -> None:
        """End every process of the instance at once, as pulling the plug does."""
        launcher, link, public = self._launcher, self._link, self._public
        self._launcher = self._link = self._public = None
        if public is not None:
            public.close()
        if self._metadata_server is not None:
            network.close(self._metadata_server)
        if launcher is None:
            return
        if self._first_pid and launcher.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._first_pid, signal.SIGKILL)
        if link is not None:
            network.close(link)
        try:
            launcher.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            # Its first process dies with it, and all others with that one.
            launcher.kill()
            launcher.wait()

    def crash(self) -> None:
        """End every process of the instance as a panic of its kernel does: nobody says goodbye."""
        if self._first_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._first_pid, signal.SIGKILL)

    def kill(self, command: str) -> int:
        """SIGKILL every process whose command line contains ``command``; how many those were."""
        import psutil

        killed = 0
        if not self._first_pid:
            return killed
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self._first_pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if command in " ".join(process.cmdline()):
                        process.kill()
                        killed += 1
        return killed

    def discard(self) -> None:
        """Power off and remove the disk; the console stays."""
        self.power_off()
        for name in ("disk", "work", "work-etc", "programs", "masks", "root"):
            root.remove(self.hardware.folder / name)

    def tell(self, **message: Any) -> None:
        """A message for the first process, if there is one."""
        link = self._link
        if link is not None:
            with contextlib.suppress(OSError):
                link.send(json.dumps(message).encode())

    def processes(self) -> int:
        """How many processes of the instance there are."""
        if self._launcher is None or self._launcher.poll() is not None or not self._first_pid:
            return 0
        import psutil

        try:
            return 1 + len(psutil.Process(self._first_pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return 0

    def _listen(self, link: socket.socket, launcher: subprocess.Popen[bytes]) -> None:
        action = "crash"
        while True:
            descriptors = array.array("i")
            try:
                data, ancillary, _, _ = link.recvmsg(
                    _MESSAGE_BYTES, socket.CMSG_SPACE(_MOST_SOCKETS * descriptors.itemsize)
                )
            except OSError:
                break
            if not data:
                break
            for level, kind, packed in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    descriptors.frombytes(packed[: len(packed) - len(packed) % descriptors.itemsize])
            told = json.loads(data)
            if told["event"] == "off":
                action = told["action"]
                break
            self._told(told, [socket.socket(fileno=number) for number in descriptors])
        launcher.wait()
        if self._launcher is launcher:
            self.power_off()
            self._off(action)

    def _told(self, told: dict[str, Any], sockets: list[socket.socket]) -> None:
        event = told["event"]
        if event == "pid":
            self._first_pid = told["pid"]
        elif event == "listening":
            handles = [self._metadata]
            handles += [partial(self._to_host, port) for port in self.hardware.host_ports]
            for server, handle in zip(sockets, handles, strict=False):
                network.serve(server, handle, f"to {self.hardware.id}")
            self.ready.set()
        elif event == "ports" and self._public is not None:
            self._public.show([port for port in told["ports"] if port not in self.hardware.host_ports])
        elif event in ("connected", "refused"):
            done, found = self._dials.pop(told["number"])
            found += sockets
            done.set()
        elif event == "broken":
            sys.stderr.write(f"{self.hardware.id} does not boot: {told['error']}\n")

    def _to_host(self, port: int, connection: socket.socket) -> None:
        self.wire.wait()
        try:
            there = socket.create_connection(("127.0.0.1", port), 10)
        except OSError:
            network.reset(connection)
            return
        there.settimeout(None)
        network.join(connection, there, self.wire)

    def _dial(self, port: int) -> socket.socket:
        """A connection to a port of the instance, made in its own network namespace.

        Raises:
            ConnectionRefusedError: nothing listens there.
        """
        number, done, found = next(self._numbers), threading.Event(), list[socket.socket]()
        self._dials[number] = (done, found)
        self.tell(do="connect", number=number, address=self.hardware.private_ip, port=port)
        if not done.wait(10) or not found:
            raise ConnectionRefusedError(port)
        return found[0]


def _layout(hardware: Hardware) -> root.Layout:
    package = str(Path(__file__).parents[2])
    shown = dict.fromkeys([sys.prefix, sys.base_prefix, sys.exec_prefix, package])
    outer = [path for path in shown if not any(path != other and path.startswith(f"{other}/") for other in shown)]
    links = {"/usr/local/bin/python3": sys.executable} if not Path("/usr/bin/python3").exists() else {}
    if hardware.baked:
        links |= {
            "/opt/acceleratorapi/bin/python": sys.executable,
            "/opt/acceleratorapi/bin/acceleratorapi": f"{sys.executable} -m acceleratorAPI",
        }
    return root.Layout(hardware.folder, tuple(outer), sys.executable, links)


def _files(hardware: Hardware) -> dict[str, str]:
    files = {
        "etc/hostname": f"ip-{hardware.private_ip.replace('.', '-')}\n",
        "etc/machine-id": f"{hardware.id.removeprefix('i-'):0<32}\n",
        "etc/resolv.conf": "",
        "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    }
    if hardware.pip_index:
        files["etc/pip.conf"] = f"[global]\nindex-url = {hardware.pip_index}\ndisable-pip-version-check = true\n"
    return files
