"""Powers an instance on: new namespaces, then its first process. Settings come as JSON on standard input.

The link's descriptor is inherited from the host process. The launcher stays until the instance is gone, so that waiting
for it is waiting for every process of the instance.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from acceleratorAPI.testing.aws.guest import kernel, root
from acceleratorAPI.testing.aws.guest.control import Control
from acceleratorAPI.testing.aws.guest.init import Init

_NAMESPACES = kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET


def main() -> int:
    """Boot; the exit code says whether there was an instance."""
    settings: dict[str, Any] = json.load(sys.stdin)
    link = socket.socket(fileno=int(sys.argv[1]))
    unprivileged = _leave(settings["user_namespace"])
    pid = os.fork()
    if pid == 0:
        kernel.die_with_parent()
        try:
            _first_process(settings, link, unprivileged)
        except BaseException as error:  # noqa: BLE001 - the host is told, and must see an end
            traceback.print_exc()
            link.send(json.dumps({"event": "broken", "error": str(error)}).encode())
        os._exit(1)
    link.send(json.dumps({"event": "pid", "pid": pid}).encode())
    link.close()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _, status = os.waitpid(pid, 0)
    return 0 if os.WIFEXITED(status) else 1


def _leave(to_user_namespace: bool) -> bool:
    """Move to new namespaces; whether a user namespace is among them, in which only this user exists, as root."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and not to_user_namespace:
        try:
            kernel.unshare(_NAMESPACES)
        except PermissionError:
            # Root of a container, which may be nobody outside.
            pass
        else:
            return False
    kernel.unshare(_NAMESPACES | kernel.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path("/proc/self", name).write_text(text, encoding="ascii")
    return True


def _first_process(settings: dict[str, Any], link: socket.socket, unprivileged: bool) -> None:
    layout = root.Layout(Path(settings["folder"]), tuple(settings["shown"]), settings["python"], settings["links"])
    console = os.open(layout.folder / "console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    os.setsid()
    root.enter(layout, settings["name"], in_user_namespace=unprivileged)
    kernel.raise_loopback([settings["private_ip"], "169.254.169.254"])
    if not unprivileged:
        kernel.drop_dangerous_capabilities()
    init = Init(Path("/"), link, console, settings["time_scale"])
    listening = [_listen("169.254.169.254", 80), _listen("127.0.0.1", settings["endpoint_port"])]
    init.tell({"event": "listening"}, tuple(server.fileno() for server in listening))
    for server in listening:
        server.close()
    Control(init)
    init.boot(settings["scripts"])
    init.run()


def _listen(address: str, port: int) -> socket.socket:
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(128)
    return server


if __name__ == "__main__":
    sys.exit(main())
