"""What systemctl, systemd-run, shutdown, journalctl, ... answer on the instance."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from acceleratorAPI.testing.aws.guest import units
from acceleratorAPI.testing.aws.guest.client import CONTROL
from acceleratorAPI.testing.aws.guest.init import Init

Answer = dict[str, Any]
_NOT_RUNNING, _NO_SUCH_UNIT = 3, 5


def _timer_key(option: str) -> str:
    """``--on-unit-active`` is ``OnUnitActiveSec``."""
    key = "".join(word.capitalize() for word in option.strip("-").split("-"))
    return key if key == "OnCalendar" else f"{key}Sec"


class Control:
    """Listens where the programs ask."""

    def __init__(self, init: Init) -> None:
        self.init = init
        self._transient = 0
        path = init.root / CONTROL
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(path))
        path.chmod(0o666)
        self._server.listen(64)
        init.watch(self._server, self._accept)

    def _accept(self) -> None:
        connection, _ = self._server.accept()
        connection.settimeout(1)
        self.init.watch(connection, lambda: self._asked(connection))

    def _asked(self, connection: socket.socket) -> None:
        self.init.unwatch(connection)
        with contextlib.suppress(OSError, ValueError):
            request = json.loads(connection.makefile("rb").readline())

            def reply(answer: Answer) -> None:
                with contextlib.suppress(OSError), connection:
                    connection.sendall(json.dumps(answer).encode())

            try:
                self._answer(request["program"], request["arguments"], reply)
            except (FileNotFoundError, ValueError, IndexError) as error:
                reply({"err": f"{error}\n", "code": _NO_SUCH_UNIT if isinstance(error, FileNotFoundError) else 1})

    def _answer(self, program: str, arguments: list[str], reply: Callable[[Answer], None]) -> None:
        if program == "systemctl":
            self._systemctl(arguments, reply)
        elif program == "systemd-run":
            self._systemd_run(arguments, reply)
        elif program == "journalctl":
            reply({"out": self._journal(arguments)})
        elif program == "cloud-init":
            self._cloud_init(arguments, reply)
        elif program == "shutdown":
            reply(self._shutdown(arguments))
        else:
            at_once = any(word in ("-f", "--force", "-ff") for word in arguments)
            # On EC2 `halt` leaves the instance running, without anything in it.
            reply({})
            if program != "halt" or any(word in ("-p", "--poweroff") for word in arguments):
                self.init.power("reboot" if program == "reboot" else "poweroff", at_once=at_once)

    # shutdown

    def _shutdown(self, arguments: list[str]) -> Answer:
        init = self.init
        if "-c" in arguments:
            init.shutdown_at = None
            self._note_schedule()
            return {}
        if "--show" in arguments:
            return (
                {"out": f"{init.shutdown_at}\n"} if init.shutdown_at else {"err": "No scheduled shutdown.\n", "code": 1}
            )
        action = "reboot" if any(word in ("-r", "--reboot") for word in arguments) else "poweroff"
        plain = [word for word in arguments if not word.startswith("-")]
        when = plain[0] if plain else "+1"
        if when == "now" or when == "+0":
            init.power(action)
            return {}
        minutes = when.removeprefix("+")
        if not minutes.isdigit():
            return {"err": f"Failed to parse time specification: {when}\n", "code": 1}
        init.shutdown_at = (init.clock.now_s() + 60 * int(minutes), action)
        self._note_schedule()
        init.note(f"shutdown: {action} in {minutes} min")
        return {"err": f"Shutdown scheduled in {minutes} min, use 'shutdown -c' to cancel.\n"}

    def _note_schedule(self) -> None:
        path = self.init.root / "run/systemd/shutdown/scheduled"
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.init.shutdown_at is None:
            path.unlink(missing_ok=True)
        else:
            at_s, action = self.init.shutdown_at
            path.write_text(f"USEC={int(at_s * 1e6)}\nWARN_WALL=0\nMODE={action}\n", encoding="ascii")

    # systemctl

    def _systemctl(self, arguments: list[str], reply: Callable[[Answer], None]) -> None:
        options = {word for word in arguments if word.startswith("-")}
        verb, *names = [word for word in arguments if not word.startswith("-")] or ["list-units"]
        names = [units.full_name(Path(name).name) for name in names]
        if verb in ("poweroff", "reboot", "halt", "kexec"):
            reply({})
            self.init.power(
                "reboot" if verb == "reboot" else "poweroff", at_once=bool(options & {"-f", "-ff", "--force"})
            )
        elif verb in ("start", "restart", "stop", "try-restart", "reload-or-restart"):
            self._change(verb, names, "--no-block" in options, reply)
        elif verb in ("enable", "reenable", "disable", "mask", "unmask"):
            self._enable(verb, names)
            if "--now" in options:
                self._change("start" if verb == "enable" else "stop", names, "--no-block" in options, reply)
            else:
                reply({})
        elif verb == "kill":
            for name in names:
                self.init.stop(name)
            reply({})
        elif verb in ("daemon-reload", "daemon-reexec", "reset-failed", "preset", "set-property", "isolate"):
            reply({})
        else:
            reply(self._look(verb, names, arguments))

    def _change(self, verb: str, names: list[str], no_block: bool, reply: Callable[[Answer], None]) -> None:
        init = self.init

        def settled() -> bool:
            return not any(init.services[name].waits for name in names if name in init.services)

        def start() -> None:
            try:
                for name in names:
                    init.start(name)
            except FileNotFoundError as error:
                reply({"err": f"Failed to {verb} {names[0]}: {error}\n", "code": _NO_SUCH_UNIT})
                return
            answer_when_settled()

        def answer_when_settled() -> None:
            if no_block:
                reply({})
            else:
                init.when(settled, done)

        def done() -> None:
            failed = [n for n in names if verb != "stop" and n in init.services and init.services[n].state == "failed"]
            text = "".join(f"Job for {name} failed. See 'journalctl -u {name}'.\n" for name in failed)
            reply({"err": text, "code": 1 if failed else 0})

        if verb == "start":
            start()
            return
        for name in names:
            init.stop(name)
        if verb == "stop":
            answer_when_settled()
        else:
            init.when(settled, start)

    def _enable(self, verb: str, names: list[str]) -> None:
        for name in names:
            for place, target in self._links(name):
                if verb in ("disable", "reenable", "mask"):
                    place.unlink(missing_ok=True)
                if verb in ("enable", "reenable"):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.unlink(missing_ok=True)
                    place.symlink_to(target)

    def _links(self, name: str) -> Iterator[tuple[Path, str]]:
        unit = units.find(self.init.root, name)
        if unit is None:
            raise FileNotFoundError(f"Failed to enable unit: Unit file {name} does not exist.")
        target = "/" + str(unit.path.relative_to(self.init.root))
        for folder, keys in (("wants", ("WantedBy", "UpheldBy")), ("requires", ("RequiredBy",))):
            for wanting in unit.names("Install", *keys):
                yield self.init.root / units.ETC / f"{wanting}.{folder}" / name, target

    def _look(self, verb: str, names: list[str], arguments: list[str]) -> Answer:
        states = [self._state(name) for name in names]
        if verb == "is-active":
            fine = any(state in ("active", "reloading") for state in states)
            return {"out": "".join(f"{state}\n" for state in states), "code": 0 if fine else _NOT_RUNNING}
        if verb == "is-failed":
            return {"out": "".join(f"{state}\n" for state in states), "code": 0 if "failed" in states else 1}
        if verb == "is-enabled":
            enabled = [any(place.is_symlink() for place, _ in self._links(name)) for name in names]
            return {
                "out": "".join("enabled\n" if e else "disabled\n" for e in enabled),
                "code": 0 if all(enabled) else 1,
            }
        if verb == "is-system-running":
            return {"out": "running\n" if self.init.booted else "starting\n"}
        if verb == "show":
            return {"out": self._show(names, arguments)}
        if verb == "status":
            lines = [f"{name}\n   Active: {state}\n" for name, state in zip(names, states, strict=True)]
            return {"out": "".join(lines), "code": 0 if all(state == "active" for state in states) else _NOT_RUNNING}
        if verb in ("list-units", "list-timers"):
            known = sorted([*self.init.services, *self.init.timers])
            return {"out": "".join(f"{name} {self._state(name)}\n" for name in known)}
        if verb == "cat":
            found = [units.find(self.init.root, name) for name in names]
            return {"out": "".join(unit.path.read_text(encoding="utf-8") for unit in found if unit)}
        return {"err": f"systemctl of the emulated instance does not know {verb!r}\n", "code": 1}

    def _state(self, name: str) -> str:
        if name.endswith(".timer"):
            return "active" if name in self.init.timers else "inactive"
        if name.endswith(".target"):
            return "active" if self.init.booted else "inactive"
        return self.init.services[name].state if name in self.init.services else "inactive"

    def _show(self, names: list[str], arguments: list[str]) -> str:
        joined = " ".join(arguments)
        lines = []
        for name in names:
            service = self.init.services.get(name)
            known = {
                "Id": name,
                "ActiveState": self._state(name),
                "MainPID": str(service.main_pid if service else 0),
                "Result": service.result if service else "success",
                "ExecMainStatus": str(service.code if service else 0),
            }
            wanted = [key for key in known if key in joined] or list(known)
            lines += [known[key] if "--value" in arguments else f"{key}={known[key]}" for key in wanted]
        return "".join(f"{line}\n" for line in lines)

    # The others.

    def _systemd_run(self, arguments: list[str], reply: Callable[[Answer], None]) -> None:
        self._transient += 1
        name = f"run-{self._transient}"
        timer: list[str] = []
        service: list[str] = []
        words = list(arguments)
        block = True
        while words and words[0].startswith("-"):
            option, _, value = words.pop(0).partition("=")
            if option in ("-u", "--unit", "-p", "--property", "-E", "--setenv") and not value:
                value = words.pop(0)
            if option in ("--unit", "-u"):
                name = value.removesuffix(".service").removesuffix(".timer")
            elif option.startswith("--on-"):
                if not value:
                    value = words.pop(0)
                timer.append(f"{_timer_key(option)}={value}")
            elif option == "--timer-property":
                timer.append(value)
            elif option in ("-p", "--property"):
                service.append(value)
            elif option in ("-E", "--setenv"):
                service.append(f"Environment={units.quoted(value)}")
            elif option == "--no-block":
                block = False
        folder = self.init.root / "run/systemd/system"
        folder.mkdir(parents=True, exist_ok=True)
        command = " ".join(units.quoted(word) for word in words)
        if command:
            text = "\n".join(["[Service]", *service, f"ExecStart={command}", ""])
            (folder / f"{name}.service").write_text(text, encoding="utf-8")
        if timer:
            (folder / f"{name}.timer").write_text("\n".join(["[Timer]", *timer, ""]), encoding="utf-8")
            self._change("restart", [f"{name}.timer"], True, lambda _: None)
            reply({"err": f"Running timer as unit: {name}.timer\n"})
        else:
            self._change("start", [f"{name}.service"], not block, reply)

    def _journal(self, arguments: list[str]) -> str:
        names = [arguments[at + 1] for at, word in enumerate(arguments[:-1]) if word in ("-u", "--unit")]
        names += [word.partition("=")[2] for word in arguments if word.startswith("--unit=")]
        folder = self.init.root / "var/log/journal"
        paths = [folder / f"{units.full_name(name)}.log" for name in names] or sorted(folder.glob("*.log"))
        text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in paths if path.exists())
        for at, word in enumerate(arguments[:-1]):
            if word in ("-n", "--lines") and arguments[at + 1].isdigit():
                return "".join(text.splitlines(keepends=True)[-int(arguments[at + 1]) :])
        return text

    def _cloud_init(self, arguments: list[str], reply: Callable[[Answer], None]) -> None:
        finished = self.init.root / "var/lib/cloud/instance/boot-finished"
        if arguments[:1] != ["status"]:
            reply({"err": "cloud-init of the emulated instance only knows `status`\n", "code": 1})
        elif "--wait" in arguments:
            self.init.when(finished.exists, lambda: reply({"out": "status: done\n"}))
        else:
            reply({"out": "status: done\n" if finished.exists() else "status: running\n"})
