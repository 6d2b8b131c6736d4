"""Exchanges of a v1.0 client, as bytes: recorded once, replayed ever after. ``python recording.py URL SOURCE CLIENT``
records those of the program in ``test_generated_client`` through a node at URL.
"""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FOLDER = Path(__file__).parents[1] / "data" / "v1.0-exchanges"


def message(connection: socket.socket) -> bytes:
    """One request or answer with its body; nothing when the other side has closed the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    missing = int(lengths[0]) - len(body) if lengths else 0
    while missing > 0:
        piece = connection.recv(min(65536, missing))
        assert piece, "cut"
        data, missing = data + piece, missing - len(piece)
    return data


def shape(answer: bytes) -> dict[str, Any]:
    """Of an answer: its status, its kind, and the names and types in its JSON."""
    head, _, body = answer.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:])
    kind = fields.get("content-type", "").partition(";")[0]
    return {
        "status": int(head.split()[1]),
        "kind": kind,
        "json": of_value(json.loads(body)) if "json" in kind else None,
    }


def of_value(value: Any) -> Any:
    """Names and types; of a list, those of its first element."""
    if isinstance(value, dict):
        return {name: of_value(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return [of_value(inner) for inner in value[:1]]
    return {bool: "boolean", str: "text", int: "number", float: "number"}.get(type(value), "null")


class _Recorder(socketserver.ThreadingTCPServer):
    daemon_threads = True
    target: tuple[str, int]
    exchanges: list[tuple[bytes, bytes]]


class _Recording(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Recorder)
        with socket.create_connection(self.server.target) as node:
            while request := message(self.request):
                node.sendall(request)
                answer = message(node)
                self.server.exchanges.append((request, answer))
                self.request.sendall(answer)


def record(url: str, program: str, source: str, client: str) -> list[tuple[bytes, bytes]]:
    """Requests and answers of ``program``; of one that is asked again and again, the last."""
    parts = urlsplit(url)
    with _Recorder(("127.0.0.1", 0), _Recording) as recorder:
        recorder.target, recorder.exchanges = (parts.hostname or "", parts.port or 0), []
        threading.Thread(target=recorder.serve_forever, daemon=True).start()
        through = f"http://127.0.0.1:{recorder.server_address[1]}"
        command = [sys.executable, "-W", "ignore", "-c", program, through, source]
        subprocess.run(command, check=True, env={"PYTHONPATH": client}, stdout=subprocess.DEVNULL)
        recorder.shutdown()
    return list(dict(recorder.exchanges).items())


def main() -> None:
    from test_generated_client import PROGRAM

    url, source, client = sys.argv[1:]
    FOLDER.mkdir(exist_ok=True)
    for number, (request, answer) in enumerate(record(url, PROGRAM, source, client), 1):
        method, path = request.split(b" ", 2)[:2]
        place = path.decode().partition("?")[0].strip("/").replace("/", "-")
        name = f"{number:02}-{method.decode().lower()}-{place}"
        (FOLDER / f"{name}.request").write_bytes(request)
        (FOLDER / f"{name}.answer.json").write_text(json.dumps(shape(answer), indent=1) + "\n")


if __name__ == "__main__":
    main()
