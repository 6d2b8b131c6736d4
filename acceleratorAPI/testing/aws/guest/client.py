"""systemctl, systemd-run, shutdown, ... on an emulated instance: hands its arguments to the first process."""

from __future__ import annotations

import json
import os
import socket
import sys

CONTROL = "run/emulator/control"


def main() -> int:
    """Ask the first process; print what it answers, leave with its exit code."""
    request = {"program": sys.argv[1], "arguments": sys.argv[2:], "pid": os.getpid(), "folder": os.getcwd()}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(os.path.join(os.environ.get("EMULATED_ROOT", "/"), CONTROL))
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError as error:
            sys.stderr.write(f"{sys.argv[1]}: the instance does not answer: {error}\n")
            return 1
    if not answer:
        return 1
    told = json.loads(answer)
    sys.stdout.write(told.get("out", ""))
    sys.stderr.write(told.get("err", ""))
    return int(told.get("code", 0))


if __name__ == "__main__":
    sys.exit(main())
