"""The first process of an instance: boots, runs user data and units, reaps, and shuts down; the host watches its link.

A loop in one thread. The link to the host carries whole JSON messages; when the host is gone, so is the instance.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import re
import selectors
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from acceleratorAPI.testing.aws.guest import processes, units
from acceleratorAPI.testing.aws.guest.clock import Clock
from acceleratorAPI.testing.aws.guest.service import Service
from acceleratorAPI.testing.aws.guest.timer import Timer

_TICK_S = 0.1
# How often ports are looked at, and how long after a process began or ended they are at every tick.
_QUIET_PORTS_S, _BUSY_S = 0.5, 5.0
_SHUTDOWN_GRACE_S = 3.0
_BOOT_TARGETS = ("sysinit", "basic", "network-online", "multi-user", "default", "timers", "graphical", "cloud-init")
# Of /proc/net/tcp: local address and port, remote, state 0A.
_LISTENING = re.compile(rb":\s([0-9A-F]+):([0-9A-F]{4})\s[0-9A-F]+:[0-9A-F]{4}\s0A\s")
# 127.0.0.1, 169.254.169.254 and ::1, as the kernel writes them there.
_LOOPBACK = (b"0100007F", b"FEA9FEA9", b"00000001000000")


class Init:
    """Everything that runs on the instance hangs on this."""

    def __init__(self, root: Path, link: socket.socket, console: int, scale: float, *, isolated: bool) -> None:
        """Take over.

        Args:
            root: of the instance's files.
            link: to the host.
            console: a descriptor.
            scale: how much faster than real time its clock runs.
            isolated: it has namespaces, so users and a network, of its own.
        """
        self.root = root
        self.isolated = isolated
        self.link = link
        self.console = console
        self.clock = Clock(scale)
        self.services: dict[str, Service] = {}
        self.timers: dict[str, Timer] = {}
        self.shutdown_at: tuple[float, str] | None = None
        self.booted = False
        self._going: str | None = None
        self._gone_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._scripts: list[dict[str, Any]] = []
        self._script_pid = 0
        self._waiting: list[tuple[Callable[[], bool], Callable[[], None]]] = []
        self._ports: list[int] = []
        self._ports_at = 0.0
        self._busy_until = 0.0
        self._kernel_files: dict[str, int] = {}

    # What a service needs of its host.

    def journal(self, unit: str, *, console: bool) -> int:
        """A descriptor that appends to the unit's log, and to the console if asked."""
        path = self.root / "var/log/journal" / f"{unit}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        if not console:
            return log
        reading, writing = os.pipe2(os.O_CLOEXEC)
        output = os.fdopen(reading, "rb", buffering=0)
        kept = os.fdopen(log, "ab", buffering=0)
        self._selector.register(output, selectors.EVENT_READ, lambda: self._copy_output(output, kept))
        return writing

    def note(self, text: str) -> None:
        """A line on the console, with the elapsed time as the kernel writes it."""
        os.write(self.console, f"[{self.clock.now_s():12.6f}] {text}\r\n".encode())

    def unit_ended(self, service: Service) -> None:
        """OnFailure, FailureAction and SuccessAction."""
        unit = service.unit
        if unit is None or self._going:
            return
        key = "FailureAction" if service.state == "failed" else "SuccessAction"
        action = unit.last("Unit", key, "none")
        if action.startswith(("poweroff", "reboot", "exit", "halt")):
            self.note(f"{service.name}: {key}={action}")
            self.power("reboot" if action.startswith("reboot") else "poweroff", at_once=action.count("-") > 0)
        elif service.state == "failed":
            for name in unit.names("Unit", "OnFailure"):
                self.start(name)

    # Units.

    def service(self, name: str) -> Service:
        """The service of that name, known from now on."""
        return self.services.setdefault(name, Service(name, self))

    def start(self, name: str) -> None:
        """Start a unit and what it requires; targets and sockets are not played.

        Raises:
            FileNotFoundError: there is no such unit file.
        """
        self._busy_until = time.monotonic() + _BUSY_S
        kind = name.rpartition(".")[2]
        if kind == "service":
            known = self.service(name)
            unit = units.find(self.root, name)
            if unit is not None and known.state in ("inactive", "failed") and not known.queued:
                self._start_wanted(unit)
                before = unit.names("Unit", "After")
                if self._must_wait(before):
                    known.queued = True
                    self.when(lambda: not (known.queued and self._must_wait(before)), lambda: self._start_queued(known))
                    return
            known.start()
        elif kind == "timer":
            unit = units.find(self.root, name)
            if unit is None:
                raise FileNotFoundError(f"Unit {name} not found.")
            if name not in self.timers:
                target = unit.last("Timer", "Unit", f"{name.removesuffix('.timer')}.service")
                self.timers[name] = Timer(unit, self.service(target), self.clock)
        elif name == "poweroff.target":
            self.power("poweroff")
        elif name == "reboot.target":
            self.power("reboot")

    def _start_wanted(self, unit: units.Unit) -> None:
        for name in unit.names("Unit", "Requires", "Wants", "BindsTo"):
            if name.endswith((".service", ".timer")) and units.find(self.root, name) is not None:
                self.start(name)

    def _must_wait(self, names: list[str]) -> bool:
        """Whether one of these services is still on its way."""
        return any(self.services[name].waits for name in names if name in self.services)

    def _start_queued(self, service: Service) -> None:
        if service.queued:
            service.queued = False
            service.start()

    def stop(self, name: str) -> None:
        """Stop a unit; one that is not known is stopped already."""
        self.timers.pop(name, None)
        if name in self.services:
            self.services[name].stop()

    def when(self, holds: Callable[[], bool], then: Callable[[], None]) -> None:
        """Call ``then`` as soon as ``holds``."""
        self._waiting.append((holds, then))

    def watch(self, connection: socket.socket, ready: Callable[[], None]) -> None:
        """Call ``ready`` whenever the connection can be read."""
        self._selector.register(connection, selectors.EVENT_READ, ready)

    def unwatch(self, connection: socket.socket) -> None:
        """No longer."""
        self._selector.unregister(connection)

    # The end.

    def power(self, action: str, *, at_once: bool = False) -> None:
        """Shut down: services are asked first, unless ``at_once``."""
        if self._going and not at_once:
            return
        self._going = action
        self._gone_at = time.monotonic() + (0 if at_once else _SHUTDOWN_GRACE_S)
        self.note(f"systemd-shutdown: {action}")
        for service in self.services.values():
            service.stop()

    def _leave(self) -> None:
        self.note("reboot: Power down" if self._going == "poweroff" else "reboot: Restarting system")
        self.tell({"event": "off", "action": self._going})
        os._exit(0)

    # The loop.

    def tell(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        """A message for the host; a host that is gone takes the instance with it."""
        packed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self.link.sendmsg([json.dumps(message).encode()], packed)
        except OSError:
            os._exit(0)

    def boot(self, scripts: list[dict[str, Any]]) -> None:
        """Run what comes with every boot, then units, then the scripts of user data, as cloud-init orders them."""
        self._scripts = scripts
        self._open_console()
        self.note("Linux: booting")
        self._run_scripts("early", self._start_units)

    def _start_units(self) -> None:
        for target in _BOOT_TARGETS:
            for folder in ("wants", "requires"):
                for link in sorted((self.root / units.ETC / f"{target}.target.{folder}").glob("*")):
                    with contextlib.suppress(FileNotFoundError):
                        self.start(link.name)
        self.booted = True
        self.note("systemd: Reached target multi-user.target")
        self._run_scripts("late", self._finish)

    def _finish(self) -> None:
        finished = self.root / "var/lib/cloud/instance/boot-finished"
        finished.write_text(f"{self.clock.now_s():.2f}\n", encoding="ascii")
        self.note("cloud-init: finished")
        self.tell({"event": "user-data-done"})

    def _run_scripts(self, phase: str, then: Callable[[], None]) -> None:
        script = next((s for s in self._scripts if s["phase"] == phase), None)
        if script is None:
            then()
            return
        self._scripts.remove(script)
        reading, writing = os.pipe()
        arguments = [script["path"]]
        self._script_pid = processes.spawn(
            processes.Start(arguments, {"INSTANCE_ID": script["instance"]}, writing, str(self.root))
        )
        os.close(writing)
        output = os.fdopen(reading, "rb", buffering=0)
        log = (self.root / "var/log/cloud-init-output.log").open("ab", buffering=0)
        self._selector.register(output, selectors.EVENT_READ, lambda: self._copy_output(output, log))
        pid = self._script_pid
        self.when(lambda: self._script_pid != pid, lambda: self._run_scripts(phase, then))

    def _copy_output(self, output: Any, log: Any) -> None:
        """What was written goes to the console and to ``log``."""
        data = output.read(65536)
        if not data:
            self._selector.unregister(output)
            output.close()
            log.close()
            return
        os.write(self.console, data)
        log.write(data)

    def run(self) -> None:
        """Until the end."""
        # A child's end wakes the loop at once.
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.power("poweroff"))
        self._open_kernel_files()
        self._selector.register(reading, selectors.EVENT_READ, lambda: bool(os.read(reading, 4096)))
        self._selector.register(self.link, selectors.EVENT_READ, self._from_host)
        while True:
            for key, _ in self._selector.select(self._pause_s()):
                key.data()
            self._reap()
            self._tick()

    def _pause_s(self) -> float:
        due = [timer.due_s() for timer in self.timers.values()]
        due += [service.restarts_at_s for service in self.services.values() if service.restarts_at_s is not None]
        if self.shutdown_at is not None:
            due.append(self.shutdown_at[0])
        next_s = self.clock.real_s(min(due, default=float("inf")) - self.clock.now_s())
        return min(max(next_s, 0.0), _TICK_S)

    def _from_host(self) -> None:
        message = self.link.recv(1 << 16)
        if not message:
            os._exit(0)
        told = json.loads(message)
        if told["do"] == "connect":
            self._connect(told)
        elif told["do"] == "jump":
            self.clock.jump(told["seconds"])
            self.note(f"clock: {told['seconds']:+} s")
        elif told["do"] in ("poweroff", "reboot"):
            self.power(told["do"])

    def _connect(self, told: dict[str, Any]) -> None:
        """Hand the host a connection to a port of the instance."""
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.connect((told["address"], told["port"]))
            self.tell({"event": "connected", "number": told["number"]}, (connection.fileno(),))
        except OSError as error:
            self.tell({"event": "refused", "number": told["number"], "error": str(error)})
        finally:
            connection.close()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._busy_until = time.monotonic() + _BUSY_S
            if pid == self._script_pid:
                self.note(f"cloud-init: the script ended with {os.waitstatus_to_exitcode(status)}")
                self._script_pid = 0
            for service in list(self.services.values()):
                if service.reaped(pid, status):
                    break

    def _tick(self) -> None:
        now = self.clock.now_s()
        self._write_uptime(now)
        self._read_sysrq()
        for timer in list(self.timers.values()):
            if timer.due_s() <= now:
                timer.trigger()
                with contextlib.suppress(FileNotFoundError):
                    self.start(timer.service.name)
        for service in list(self.services.values()):
            service.tick()
        if self.shutdown_at is not None and self.shutdown_at[0] <= now:
            action, self.shutdown_at = self.shutdown_at[1], None
            self.power(action)
        ready = [entry for entry in self._waiting if entry[0]()]
        self._waiting = [entry for entry in self._waiting if entry not in ready]
        for _, then in ready:
            then()
        if self.isolated and time.monotonic() >= self._ports_at:
            self._tell_ports()
        if self._going and (time.monotonic() >= self._gone_at or not any(s.waits for s in self.services.values())):
            self._leave()

    def _open_kernel_files(self) -> None:
        """Kept open, as they are looked at all the time."""
        for name, flags in (("uptime", os.O_RDWR), ("sysrq-trigger", os.O_RDWR), ("net/tcp", 0), ("net/tcp6", 0)):
            # A kernel may be without IPv6, or without SysRq.
            with contextlib.suppress(OSError):
                path = Path("/proc") if name.startswith("net/") else self.root / "proc"
                self._kernel_files[name] = os.open(path / name, flags | os.O_CLOEXEC)

    def _open_console(self) -> None:
        """What programs write to /dev/console comes here."""
        path = self.root / "dev/console"
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o622)
        written = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(
            written, selectors.EVENT_READ, lambda: bool(os.write(self.console, os.read(written, 65536)))
        )

    def _write_uptime(self, now: float) -> None:
        os.pwrite(self._kernel_files["uptime"], b"%-23b\n" % (b"%.2f %.2f" % (now, now)), 0)

    def _read_sysrq(self) -> None:
        descriptor = self._kernel_files.get("sysrq-trigger")
        asked = os.pread(descriptor, 1, 0) if descriptor is not None else b""
        if asked in (b"o", b"b"):
            self.power("poweroff" if asked == b"o" else "reboot", at_once=True)

    def _tell_ports(self) -> None:
        """Tell the host which ports can be reached from outside. The kernel takes a millisecond to say it."""
        now = time.monotonic()
        self._ports_at = now + (_TICK_S if now < self._busy_until else _QUIET_PORTS_S)
        found = set()
        for table in ("net/tcp", "net/tcp6"):
            if table in self._kernel_files:
                text = os.pread(self._kernel_files[table], 1 << 18, 0)
                found |= {int(m[2], 16) for m in _LISTENING.finditer(text) if not m[1].endswith(_LOOPBACK)}
        ports = sorted(found)
        if ports != self._ports:
            self._ports = ports
            self.tell({"event": "ports", "ports": ports})
