"""Many small files: ``process_map`` over HTTP against nginx, which only keeps them, and against one v1.0 call each."""

from __future__ import annotations

import http.client
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from acceleratorAPI import Accelerator
from benchmarks.common import Options, Peer, Row, compare, make_text, race
from benchmarks.servers import MissingPeerError, Server, nginx, node

COUNT = 1000
SIZE_BYTES = 10_000
# One v1.0 call takes so long that fewer tell as much.
V1_COUNT = 100
_THREADS = 4


def measure(work: Path, options: Options) -> list[Row]:
    """The rows; without nginx, only the one against v1.0 calls."""
    text = make_text(work / "small.txt", COUNT * SIZE_BYTES).read_bytes()
    sources = [work / "small" / f"{number}.txt" for number in range(COUNT)]
    sources[0].parent.mkdir()
    for number, source in enumerate(sources):
        source.write_bytes(text[number * SIZE_BYTES : (number + 1) * SIZE_BYTES])
    folders = (work / f"packed{number}" for number in itertools.count())
    with node(work / "state", None, "--accelerator", "cast_gzip") as server:
        _settings(work / "small.conf", server)
        with Accelerator("cast_gzip", config_file=work / "small.conf", instance_ip=server.url) as accelerator:
            accelerator.start()

            def process_map() -> None:
                folder = next(folders)
                folder.mkdir()
                for _ in accelerator.process_map(sources, folder):
                    pass

            ours = Peer(f"process_map of {COUNT} files of {SIZE_BYTES} bytes", process_map, COUNT * SIZE_BYTES)
            one = Peer("one v1.0 call after the other", partial(_v1, server, sources[:V1_COUNT]), V1_COUNT * SIZE_BYTES)
            try:
                with nginx(work / "nginx") as web:
                    kept = Peer(
                        f"nginx PUT and GET, {_THREADS} kept-alive connections",
                        partial(_put_and_get, web, sources, folders),
                        COUNT * SIZE_BYTES,
                    )
                    rates = race(ours, [kept, one], options.rounds)
                    return [compare(ours, kept, rates), compare(ours, one, rates)]
            except MissingPeerError as missing:
                print(missing, file=sys.stderr)
                return [compare(ours, one, race(ours, [one], options.rounds))]


def _settings(path: Path, server: Server) -> None:
    path.write_text(f"[general]\nnode_token = {server.token}\n")
    path.chmod(0o600)


def _put_and_get(server: Server, sources: Sequence[Path], folders: Iterator[Path]) -> None:
    # Replacing a file takes longer than making one, and here all are new.
    folder = next(folders)
    folder.mkdir()

    def some(part: Sequence[Path]) -> None:
        connection = _connection(server)
        for source in part:
            connection.request("PUT", f"/{folder.name}/{source.name}", source.read_bytes())
            connection.getresponse().read()
            connection.request("GET", f"/{folder.name}/{source.name}")
            (folder / source.name).write_bytes(connection.getresponse().read())
        connection.close()

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(some, [sources[number::_THREADS] for number in range(_THREADS)]))


def _v1(server: Server, sources: Sequence[Path]) -> None:
    """As a program of the guide does it: send, ask until it is processed, fetch, forget."""
    for source in sources:
        job = _ask(server, "POST", "/v1.0/process/", source.read_bytes())
        while not job["processed"]:
            job = _ask(server, "GET", urlsplit(job["url"]).path)
        _ask(server, "GET", urlsplit(job["datafileresult"]).path)
        _ask(server, "DELETE", urlsplit(job["url"]).path)


def _ask(server: Server, method: str, path: str, file: bytes | None = None) -> dict[str, Any]:
    """One call on a connection of its own, as the clients of v1.0 made them; the answer when it is JSON."""
    body, headers = b"", {"Authorization": f"Bearer {server.token}"}
    if file is not None:
        body = b'--b\r\nContent-Disposition: form-data; name="datafile"; filename="f"\r\n\r\n' + file + b"\r\n--b--\r\n"
        headers["Content-Type"] = "multipart/form-data; boundary=b"
    connection = _connection(server)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {answer.status} {text[:200]!r}")
    found: dict[str, Any] = json.loads(text) if answer.getheader("Content-Type") == "application/json" else {}
    return found


def _connection(server: Server) -> http.client.HTTPConnection:
    address = urlsplit(server.url)
    return http.client.HTTPConnection(address.hostname or "", address.port)
