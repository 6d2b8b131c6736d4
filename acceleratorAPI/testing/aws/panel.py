"""What tests do to the cloud besides calling it, under ``/_emulator/``: faults, the log, instances, clocks, wires."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acceleratorAPI.testing.aws.calls import Answer
from acceleratorAPI.testing.aws.faults import Fault

if TYPE_CHECKING:
    from acceleratorAPI.testing.aws.server import Server


class Panel:
    """Answers the emulator's own requests."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.wheels: Path | None = None

    def answer(self, environment: dict[str, Any], body: bytes) -> Answer:
        """Answer one request; what it cannot do is a 404."""
        what, _, rest = environment["PATH_INFO"].removeprefix("/_emulator/").partition("/")
        verb = environment["REQUEST_METHOD"]
        if what == "checkip":
            return Answer(200, f"{environment['REMOTE_ADDR']}\n".encode(), (("Content-Type", "text/plain"),))
        if what == "simple":
            return self._index(rest)
        server = self.server
        if (verb, what) == ("GET", "calls"):
            with server.lock:
                return _json([call.as_dict() for call in server.log])
        if (verb, what) == ("POST", "faults"):
            with server.lock:
                server.plan.add(Fault(**json.loads(body)))
            return _json({})
        if (verb, what) == ("DELETE", "faults"):
            with server.lock:
                server.plan.clear()
            return _json({})
        if (verb, what) == ("POST", "reset"):
            server.reset()
            return _json({})
        if (verb, what) == ("POST", "settings"):
            try:
                server.rules.change(json.loads(body))
            except ValueError as error:
                return Answer(400, str(error).encode())
            return _json({})
        if what == "instances":
            return self._instances(verb, rest, body)
        return Answer(404, b"nothing here\n")

    def _instances(self, verb: str, rest: str, body: bytes) -> Answer:
        fleet = self.server.fleet
        instance_id, _, action = rest.partition("/")
        if verb == "GET" and not instance_id:
            return _json([_record(kept) for kept in list(fleet.kept.values())])
        kept = fleet.kept.get(instance_id)
        if kept is None or kept.machine is None:
            return Answer(404, f"no machine of {instance_id}\n".encode())
        asked = json.loads(body or b"{}")
        if action == "console":
            return Answer(200, kept.machine.console, (("Content-Type", "text/plain"),))
        if action == "jump":
            kept.machine.tell(do="jump", seconds=float(asked["seconds"]))
        elif action in ("cut", "mend") and kept.machine.hardware.isolation == "none":
            return Answer(409, b"without namespaces instances have no network of their own to cut\n")
        elif action == "cut":
            kept.machine.wire.cut()
        elif action == "mend":
            kept.machine.wire.mend()
        elif action == "poweroff":
            kept.machine.tell(do="poweroff")
        elif action == "crash":
            kept.machine.crash()
        elif action == "kill":
            command = str(asked["command"])
            if not command or not kept.machine.kill(command):
                return Answer(404, f"no process {command!r} in {instance_id}\n".encode())
        elif action == "interrupt":
            fleet.interrupt(kept, float(asked.get("notice_s", 120)))
        else:
            return Answer(404, f"unknown: {action}\n".encode())
        return _json({})

    def _index(self, rest: str) -> Answer:
        """A package index of the wheels in a folder: PEP 503."""
        wheels = sorted(self.wheels.glob("*.whl")) if self.wheels else []
        name, _, file = rest.strip("/").partition("/")
        if file:
            found = next((path for path in wheels if path.name == file), None)
            return (
                Answer(200, found.read_bytes(), (("Content-Type", "application/zip"),)) if found else Answer(404, b"")
            )
        if name:
            links = [path.name for path in wheels if _normal(path.name.partition("-")[0]) == name]
        else:
            links = sorted({_normal(path.name.partition("-")[0]) + "/" for path in wheels})
        text = "".join(f'<a href="{link}">{link}</a>\n' for link in links)
        return Answer(200 if links or not name else 404, text.encode(), (("Content-Type", "text/html"),))


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _record(kept: Any) -> dict[str, Any]:
    instance = kept.instance
    return {
        "id": instance.id, "region": instance.region_name, "state": instance.state, "public_ip": instance.public_ip,
        "private_ip": instance.private_ip, "type": instance.instance_type, "zone": instance.availability_zone,
        "tags": {tag["key"]: tag["value"] for tag in instance.get_tags()}, "impaired": kept.impaired,
        "processes": kept.machine.processes() if kept.machine else 0,
        "ready": bool(kept.machine and kept.machine.ready.is_set()),
        "folder": str(kept.machine.hardware.folder) if kept.machine else "",
        "lifecycle": instance.lifecycle or "normal",
    }  # fmt: skip


def _json(value: Any) -> Answer:
    return Answer(200, json.dumps(value).encode(), (("Content-Type", "application/json"),))
