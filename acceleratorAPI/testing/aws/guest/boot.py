"""Powers an instance on: new namespaces, then its first process. Settings come as JSON on standard input.

The link's descriptor is inherited from the host process. The launcher stays until the instance is gone, so that waiting
for it is waiting for every process of the instance.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from acceleratorAPI.testing.aws.guest import kernel, processes, root
from acceleratorAPI.testing.aws.guest.control import Control
from acceleratorAPI.testing.aws.guest.init import Init

_NAMESPACES = kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET


def main() -> int:
    """Boot; the exit code says whether there was an instance."""
    settings: dict[str, Any] = json.load(sys.stdin)
    link = socket.socket(fileno=int(sys.argv[1]))
    isolation = settings["isolation"]
    if isolation == "none":
        kernel.adopt_orphans()
    else:
        _leave(isolation == "user")
    pid = os.fork()
    if pid == 0:
        kernel.die_with_parent()
        try:
            _first_process(settings, link)
        except BaseException as error:  # noqa: BLE001 - the host is told, and must see an end
            traceback.print_exc()
            link.send(json.dumps({"event": "broken", "error": str(error)}).encode())
        os._exit(1)
    link.send(json.dumps({"event": "pid", "pid": pid}).encode())
    link.close()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    while os.waitpid(-1, 0)[0] != pid:
        pass
    if isolation == "none":
        _end_the_rest()
    return 0


def _end_the_rest() -> None:
    """Without a namespace that ends with its first process: what is left are, or become, children of this process."""
    while True:
        for folder in Path("/proc").glob("[1-9]*"):
            with contextlib.suppress(OSError):
                if int((folder / "stat").read_bytes().rpartition(b") ")[2].split()[1]) == os.getpid():
                    os.kill(int(folder.name), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _leave(with_user_namespace: bool) -> None:
    """Move to new namespaces; in a user namespace only this user exists, as root."""
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(_NAMESPACES | (kernel.CLONE_NEWUSER if with_user_namespace else 0))
    if with_user_namespace:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path("/proc/self", name).write_text(text, encoding="ascii")


def possible(isolation: str, folder: Path) -> bool:
    """Try in a child whether this host lets this user isolate instances so; ``folder`` is an empty one."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    code = 1
    try:
        _leave(isolation == "user")
        if (inner := os.fork()) == 0:
            layout = root.Layout(folder, (), sys.executable)
            root.make_disk(layout, {})
            root.enter(layout, "probe", in_user_namespace=isolation == "user")
            os._exit(0)
        code = os.waitpid(inner, 0)[1] != 0
    except OSError:
        pass
    finally:
        os._exit(code)


def _first_process(settings: dict[str, Any], link: socket.socket) -> None:
    layout = root.Layout(Path(settings["folder"]), tuple(settings["shown"]), settings["python"], settings["links"])
    console = os.open(layout.folder / "console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    os.setsid()
    isolation = settings["isolation"]
    listening: list[socket.socket] = []
    if isolation == "none":
        top = layout.disk
        processes.BASE["PATH"] = f"{layout.folder / 'programs/bin'}:{processes.BASE['PATH']}"
        processes.BASE["EMULATED_ROOT"] = str(top)
    else:
        top = Path("/")
        root.enter(layout, settings["name"], in_user_namespace=isolation == "user")
        kernel.raise_loopback([settings["private_ip"], "169.254.169.254"])
        if isolation == "root":
            kernel.drop_dangerous_capabilities()
        to_host = [_listen("127.0.0.1", port) for port in settings["host_ports"]]
        listening = [_listen("169.254.169.254", 80), *to_host]
    init = Init(top, link, console, settings["time_scale"], isolated=isolation != "none")
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
