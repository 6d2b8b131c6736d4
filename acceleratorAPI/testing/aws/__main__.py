"""The cloud as a process, ``python -m acceleratorAPI.testing.aws``: ends, with all in it, when its owner ends."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib.util
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from acceleratorAPI.testing.aws import images, moto_cloud, network
from acceleratorAPI.testing.aws.fleet import Fleet, FleetSettings
from acceleratorAPI.testing.aws.guest import boot, root
from acceleratorAPI.testing.aws.machine import Isolation
from acceleratorAPI.testing.aws.rules import Rules
from acceleratorAPI.testing.aws.server import Server

_PREFIX = "acceleratorapi-aws-"
_YOUNG_S = 60.0


def main(arguments: list[str] | None = None) -> int:
    """Serve until standard input ends or a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m acceleratorAPI.testing.aws", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--time-scale", type=float, default=1.0)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--reach", type=int, action="append", default=[])
    parser.add_argument("--isolation", choices=["auto", "root", "user", "none"], default="auto")
    told = parser.parse_args(arguments)
    if missing := _missing():
        sys.stderr.write(f"{missing}\n")
        return 2
    try:
        server_socket = network.listen("127.0.0.1", told.port)
    except OSError as error:
        sys.stderr.write(f"--port {told.port} cannot be used: {error.strerror}; choose another, or 0 for a free one\n")
        return 2
    _remove_left_folders()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = _lock(folder)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    try:
        fleet = _serve(told, folder, server_socket)
        network.start(lambda: _until_owner_ends(ended), "owner")
        ended.wait()
        fleet.close()
    finally:
        root.remove(folder)
        os.close(lock)
    return 0


def _isolation(asked: str, folder: Path) -> Isolation:
    """As much as this host gives."""
    kinds: list[Isolation] = ["root", "user"] if os.geteuid() == 0 else ["user"]
    for kind in kinds:
        probe = folder / f"probe-{kind}"
        if asked in ("auto", kind) and boot.possible(kind, probe):
            root.remove(probe)
            return kind
    if asked not in ("auto", "none"):
        raise OSError(f"--isolation {asked}: this host does not let this user make such namespaces")
    sys.stderr.write(
        "no namespaces here: instances share this host's network, users and programs\n" * (asked == "auto")
    )
    return "none"


def _lock(folder: Path) -> int:
    """Mark the folder as one in use; the mark goes with the process."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_left_folders() -> None:
    """Those of emulators that were killed; their instances ended with them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # One that was made just now may not have its lock yet.
        if time.time() - folder.stat().st_mtime > _YOUNG_S:
            with contextlib.suppress(OSError):
                os.close(_lock(folder))
                root.remove(folder)


def _missing() -> str:
    """What keeps the cloud from running here."""
    if not sys.platform.startswith("linux"):
        return "the emulated cloud runs its instances in namespaces of Linux; this is another system"
    if importlib.util.find_spec("moto") is None:
        return "the emulated cloud needs: pip install 'acceleratorAPI[emulate]'"
    return ""


def _serve(told: argparse.Namespace, folder: Path, server_socket: socket.socket) -> Fleet:
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, *_: Any) -> None:
            """The log of calls is enough."""

    moto = moto_cloud.prepare()
    root.make_template(folder / "etc")
    port = server_socket.getsockname()[1]
    index = f"http://127.0.0.1:{port}/_emulator/simple/" if told.wheels else ""
    settings = FleetSettings(
        folder, (port, *told.reach), told.time_scale,
        baked_images=images.baked(), pip_index=index, isolation=_isolation(told.isolation, folder),
    )  # fmt: skip
    fleet = Fleet(settings, threading.RLock())
    moto_cloud.teach(fleet)
    server = Server(moto, fleet, Rules(fleet))
    server.panel.wheels = told.wheels
    http = make_server("127.0.0.1", port, server, threaded=True, request_handler=Quiet, fd=server_socket.detach())
    network.start(http.serve_forever, "http")
    sys.stdout.write(f"http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    return fleet


def _until_owner_ends(ended: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    ended.set()


if __name__ == "__main__":
    code = main()
    # moto leaves so much behind that tidying up as Python does takes seconds.
    os._exit(code)
