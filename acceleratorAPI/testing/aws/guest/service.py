"""One ``.service``: its commands in order, what its end means, when it is started again.

Hardening options (ProtectSystem, NoNewPrivileges, ...) and resource limits are read over: an emulated instance shows
what a service does, not what it is kept from.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from acceleratorAPI.testing.aws.guest import processes, units
from acceleratorAPI.testing.aws.guest.clock import Clock

State = Literal["inactive", "activating", "active", "deactivating", "failed"]
_CLEAN_SIGNALS = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE}
_FOLDERS = (("RuntimeDirectory", "run"), ("StateDirectory", "var/lib"), ("CacheDirectory", "var/cache"),
            ("LogsDirectory", "var/log"), ("ConfigurationDirectory", "etc"))  # fmt: skip
_RESTARTED_BY = {
    "always": {"success", "exit-code", "signal", "timeout"},
    "on-success": {"success"},
    "on-failure": {"exit-code", "signal", "timeout"},
    "on-abnormal": {"signal", "timeout"},
    "on-abort": {"signal"},
}


class Host(Protocol):
    """What a service needs of the first process."""

    root: Path
    clock: Clock
    isolated: bool

    def journal(self, unit: str, *, console: bool) -> int:
        """A descriptor that appends to the unit's log, and to the console if asked; the caller closes it."""

    def note(self, text: str) -> None:
        """A line for the console."""

    def unit_ended(self, service: Service) -> None:
        """The service is over: OnFailure, FailureAction, SuccessAction."""


class Service:
    """A unit that may run."""

    def __init__(self, name: str, host: Host) -> None:
        self.name = name
        self.host = host
        self.unit: units.Unit | None = None
        self.state: State = "inactive"
        self.result = "success"
        self.main_pid = 0
        self.code = 0
        self.invocation = ""
        self.left_inactive_s: float | None = None
        self.became_inactive_s: float | None = None
        self.restarts_at_s: float | None = None
        self.queued = False
        self._restarts: list[float] = []
        self._commands: list[str] = []
        self._then: Callable[[], None] = self._settle
        self._running = 0
        self._overlooked = False
        self._kill_at = float("inf")
        self._stopping = False
        self._stamp_s = 0.0

    @property
    def waits(self) -> bool:
        """It is on its way from one state to another."""
        return self.queued or (self.state in ("activating", "deactivating") and self.restarts_at_s is None)

    def _get(self, key: str, default: str = "") -> str:
        return self.unit.last("Service", key, default) if self.unit else default

    def _all(self, key: str) -> list[str]:
        return self.unit.all("Service", key) if self.unit else []

    @property
    def kind(self) -> str:
        """Its Type."""
        return self._get("Type", "simple" if self._all("ExecStart") else "oneshot")

    def start(self) -> None:
        """Begin, unless it runs.

        Raises:
            FileNotFoundError: there is no such unit file.
        """
        if self.state in ("active", "activating") and self.restarts_at_s is None:
            return
        self.unit = units.find(self.host.root, self.name)
        if self.unit is None:
            raise FileNotFoundError(f"Unit {self.name} not found.")
        self.restarts_at_s, self._stopping, self.result, self.code = None, False, "success", 0
        self.invocation = secrets.token_hex(16)
        self.state = "activating"
        self.left_inactive_s = self.host.clock.now_s()
        if not self._conditions_hold():
            self._over("inactive")
            return
        self._run(self._all("ExecStartPre"), self._start_main)

    def _conditions_hold(self) -> bool:
        assert self.unit is not None
        for section in ("Unit",):
            for value in self.unit.all(section, "ConditionPathExists") + self.unit.all(section, "AssertPathExists"):
                path = units.inside(self.host.root, value.lstrip("|!"))
                if path.exists() == ("!" in value[:2]):
                    self.host.note(f"{self.name}: condition {value} does not hold")
                    return False
        return True

    def _start_main(self) -> None:
        if self.kind == "oneshot":
            self._run(self._all("ExecStart"), self._started)
            return
        command = self._all("ExecStart")[-1:]
        if self.kind == "forking":
            self._run(command, self._started)
            return
        self.main_pid = self._spawn(command[0]) if command else 0
        self._run(self._all("ExecStartPost"), self._settle)
        self.state = "active"

    def _started(self) -> None:
        if self.kind == "forking" or (self.unit is not None and self.unit.flag("Service", "RemainAfterExit")):
            self.state = "active"
        else:
            self._end("success")

    def _settle(self) -> None:
        """Nothing follows."""

    def _run(self, commands: list[str], then: Callable[[], None]) -> None:
        self._commands, self._then = list(commands), then
        self._step()

    def _step(self) -> None:
        if not self._commands:
            self._running = 0
            then, self._then = self._then, self._settle
            then()
            return
        self._running = self._spawn(self._commands.pop(0))

    def _spawn(self, line: str) -> int:
        output = self.host.journal(self.name, console="console" in self._get("StandardOutput"))
        try:
            environment = self._environment()
            arguments, self._overlooked = units.command(line, environment)
            user = self._get("User") or None if self.host.isolated else None
            group = self._get("Group") or None
            folder = self._get("WorkingDirectory", str(self.host.root)).lstrip("-").replace("~", "/root")
            capabilities = tuple(name for value in self._all("AmbientCapabilities") for name in value.split())
            return processes.spawn(processes.Start(arguments, environment, output, folder, user, group, capabilities))
        except (OSError, ValueError) as error:
            os.write(output, f"{self.name}: {error}\n".encode())
            return processes.spawn(processes.Start(["/bin/false"], {}, output))
        finally:
            os.close(output)

    def _environment(self) -> dict[str, str]:
        assert self.unit is not None
        found = {"INVOCATION_ID": self.invocation}
        if user := self._get("User"):
            found |= processes.user_environment(user)
        for key, parent in _FOLDERS:
            names = [name for value in self._all(key) for name in value.split()]
            for name in names:
                self._make_folder(self.host.root / parent / name, key)
            if names:
                variable = key.replace("Directory", "_DIRECTORY").upper()
                found[variable] = ":".join(str(self.host.root / parent / name) for name in names)
        return {**found, **units.environment(self.unit, self.host.root)}

    def _make_folder(self, path: Path, key: str) -> None:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(int(self._get(f"{key}Mode", "0755"), 8))
        with contextlib.suppress(KeyError, OSError):
            entry, group = processes.find_user(self._get("User", "root"), self._get("Group") or None)
            os.chown(path, entry.pw_uid, group)

    def reaped(self, pid: int, status: int) -> bool:
        """Take note that a child has ended; whether it was one of this service."""
        if pid not in (self.main_pid, self._running):
            return False
        code = os.waitstatus_to_exitcode(status)
        if pid == self.main_pid:
            self.main_pid = 0
            self._main_ended(code)
            return True
        self._running = 0
        if code == 0 or self._overlooked or self.state == "deactivating":
            self._step()
        else:
            self.code, self._commands = code, []
            self._end("signal" if code < 0 else "exit-code")
        return True

    def _main_ended(self, code: int) -> None:
        self.code = code
        fine = self._get("SuccessExitStatus").split()
        clean = code == 0 or -code in _CLEAN_SIGNALS or str(code) in fine
        if self._stopping:
            return
        if code != 0 and not clean:
            self.host.note(f"{self.name}: main process ended with {code}")
        self._end("success" if clean else "signal" if code < 0 else "exit-code")

    def stop(self) -> None:
        """Ask it to end; killed when it does not in TimeoutStopSec."""
        self.restarts_at_s, self.queued = None, False
        if self.state in ("inactive", "failed"):
            return
        if self.state == "activating" and not self.main_pid and not self._running:
            self._over("inactive")
            return
        self._stopping, self.state = True, "deactivating"
        self._run(self._all("ExecStop") if self.main_pid else [], self._ask)

    def _ask(self) -> None:
        number = getattr(signal, self._get("KillSignal", "SIGTERM"), signal.SIGTERM)
        timeout_s = self.unit.seconds("Service", "TimeoutStopSec", 90) if self.unit else 90
        self._kill_at = time.monotonic() + timeout_s
        only_main = self._get("KillMode", "control-group") in ("process", "mixed")
        pids = [self.main_pid] if only_main and self.main_pid else processes.members(self.invocation)
        processes.signal_all(pids, number)

    def _end(self, result: str) -> None:
        """Its work is over: what is left of it is killed, ExecStopPost runs."""
        self.result = result
        self.state = "deactivating"
        if self._get("KillMode", "control-group") != "none":
            processes.signal_all(processes.members(self.invocation), signal.SIGKILL)
        self._run(self._all("ExecStopPost"), self._ended)

    def _ended(self) -> None:
        if not self._stopping and self._restart_wanted():
            return
        self._over("inactive" if self.result == "success" else "failed")

    def _restart_wanted(self) -> bool:
        if self.result not in _RESTARTED_BY.get(self._get("Restart", "no"), set()):
            return False
        assert self.unit is not None
        now = self.host.clock.now_s()
        interval = self.unit.seconds("Unit", "StartLimitIntervalSec", 10)
        burst = int(self.unit.last("Unit", "StartLimitBurst", "5"))
        self._restarts = [at for at in self._restarts if now - at < interval]
        if interval and len(self._restarts) >= burst:
            self.host.note(f"{self.name}: started too often")
            self.result = "start-limit-hit"
            return False
        self._restarts.append(now)
        self.state = "activating"
        self.became_inactive_s = now
        self.restarts_at_s = now + self.unit.seconds("Service", "RestartSec", 0.1)
        return True

    def _over(self, state: State) -> None:
        self.state = state
        self.became_inactive_s = self.host.clock.now_s()
        self._kill_at = float("inf")
        self.host.unit_ended(self)

    def tick(self) -> None:
        """Whatever time brings: a restart that is due, the end of a stop, a kill."""
        if self.restarts_at_s is not None and self.host.clock.now_s() >= self.restarts_at_s:
            self.start()
        if self._stopping and self.state == "deactivating" and not self._running and not self._commands:
            left = processes.members(self.invocation)
            if not left and not self.main_pid:
                self._stopping_done()
            elif time.monotonic() >= self._kill_at:
                processes.signal_all([*left, self.main_pid] if self.main_pid else left, signal.SIGKILL)

    def _stopping_done(self) -> None:
        self._stopping = False
        self._run(self._all("ExecStopPost"), lambda: self._over("inactive"))
