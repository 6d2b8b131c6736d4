"""Bytes to a node and back, and the main job on a node that shares no files, against nginx, curl and igzip by hand."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from acceleratorAPI import Accelerator
from acceleratorAPI.files import open_source
from acceleratorAPI.functions.cast_gzip import Gzip, GzipParameters
from benchmarks import inputs, servers
from benchmarks.common import Options, Peer, Row, compare, race, rewritten
from benchmarks.servers import Server

_RANGE_BYTES = 64 << 20
_BOUNDARY = "------------------------0123456789abcdef"


def uploads(work: Path, options: Options) -> list[Row]:
    """A file as it is, in one request."""
    with servers.nginx(work / "nginx") as nginx, servers.node(work / "node") as node:
        random = inputs.random_bytes(options.transfer_bytes)
        ours = _upload("upload of random bytes to a node, curl", node, work, random)
        return _race(ours, [_put(nginx, work, random)], options)


def forms(work: Path, options: Options) -> list[Row]:
    """The v1.0 form: of random bytes against all peers, and of what is hard for a reader of forms."""
    with (
        servers.nginx(work / "nginx") as nginx,
        _gzip_node(work) as node,
        servers.fastapi(work) as fastapi,
    ):
        random = inputs.random_bytes(options.transfer_bytes)
        command = [*_curl(fastapi.url), "-F", f"datafile=@{random}"]
        first = Peer("curl -F to FastAPI's UploadFile, copied to its place", _doing(command), options.transfer_bytes)
        ours = _form("v1.0 form with random bytes to a node, curl -F", node, work, random)
        rows = _race(ours, [_put(nginx, work, random), first], options)
        for name, path in _hard(work, options.transfer_bytes // 4):
            ours = _form(f"v1.0 form with {name}", node, work, path, _BOUNDARY)
            rows += _race(ours, [_put(nginx, work, path)], options)
        return rows


def downloads(work: Path, options: Options) -> list[Row]:
    """A job's result, whole and in ranges."""
    with (
        servers.nginx(work / "nginx") as nginx,
        _gzip_node(work) as node,
    ):
        random = inputs.random_bytes(options.transfer_bytes)
        job: Mapping[str, Any] = _json(node, "/v1.0/process/", "-F", f"datafile=@{random}")
        while not job["processed"]:
            job = _json(node, f"/v1.0/process/{job['id']}?wait=60")
        url, theirs = f"{node.url}/v2/jobs/{job['id']}/result", f"{nginx.url}/result"
        copy = work / "nginx/files/result"
        _do(_curl(url, node, copy))
        size = copy.stat().st_size

        def whole(source: str, server: Server) -> Callable[[], None]:
            return _doing(_curl(source, server))

        def ranges(source: str, server: Server) -> Callable[[], None]:
            starts = range(0, size, _RANGE_BYTES)
            commands = [[*_curl(source, server), "-r", f"{at}-{at + _RANGE_BYTES - 1}"] for at in starts]
            return lambda: [_do(command) for command in commands] and None

        rows = []
        for name, way in (("GET of a result", whole), ("GET in ranges of 64 MiB", ranges)):
            ours = Peer(f"{name} from a node, curl", way(url, node), size, server_cpu_s=node.cpu_s)
            peer = Peer("curl from nginx, sendfile", way(theirs, nginx), size, server_cpu_s=nginx.cpu_s)
            rows += _race(ours, [peer], options)
        return rows


def jobs(work: Path, options: Options) -> list[Row]:
    """``process`` of a client that sends and fetches, plain and with TLS."""
    certificate = servers.make_certificate(work)
    rows = []
    with servers.nginx(work / "nginx", certificate) as nginx:
        with servers.node(work / "plain") as node:
            rows += _jobs(work, options, node, nginx.url, "")
        with servers.node(work / "secure", certificate) as node:
            rows += _jobs(work, options, node, nginx.tls_url, certificate.fingerprint)
    return rows


def _jobs(work: Path, options: Options, node: Server, nginx_url: str, fingerprint: str) -> list[Row]:
    source, size = inputs.source_tar(options.transfer_bytes), options.transfer_bytes
    there, out = work / "nginx/files/by-hand", work / "out.gz"
    config = work / "accelerator.conf"
    config.write_text(f"[general]\nnode_token = {node.token}\nnode_fingerprint = {fingerprint}\n")
    config.chmod(0o600)
    how = "TLS" if fingerprint else "plain HTTP"
    function = Gzip(options.threads)

    def kernel() -> None:
        with open_source(source) as data, rewritten(work / "kernel.gz") as target:
            function.process(data, target, GzipParameters())

    def by_hand() -> None:
        _do([*_curl(f"{nginx_url}/by-hand"), "-T", str(source)])
        _do(["igzip", "-1", "-k", str(there)])
        _do(_curl(f"{nginx_url}/by-hand.gz", out=out))

    def remove() -> None:
        # igzip does not write over a file without asking.
        for path in (out, there, there.with_name("by-hand.gz")):
            path.unlink()

    with Accelerator(
        "cast_gzip", config_file=config, instance_ip=node.url, shared_files=False, stop_mode="keep"
    ) as accelerator:
        accelerator.start()
        name = f"process() of cast_gzip on a node that shares no files, {how}"
        ours = Peer(name, lambda: accelerator.process(source, out) and None, size, out.unlink, node.cpu_s)
        hand = Peer(f"curl to nginx, igzip -1, curl back, {how}", by_hand, size, remove)
        return _race(ours, [hand, Peer("the kernel alone, file to file, written over", kernel, size)], options)


PARTS: Mapping[str, Callable[[Path, Options], list[Row]]] = {
    "uploads": uploads,
    "forms": forms,
    "downloads": downloads,
    "jobs": jobs,
}


def _race(ours: Peer, others: Sequence[Peer], options: Options) -> list[Row]:
    rates = race(ours, others, options.rounds)
    return [compare(ours, other, rates) for other in others]


def _hard(work: Path, size: int) -> Iterator[tuple[str, Path]]:
    """Content in which a reader of forms finds what might be a boundary everywhere."""
    near = f"\r\n--{_BOUNDARY[:-1]}".encode()
    for name, unit in {"CR LF only": b"\r\n", "CR only": b"\r", "almost boundaries": near}.items():
        path = work / name.replace(" ", "-")
        path.write_bytes(unit * (size // len(unit)))
        yield name, path
    yield "text", inputs.text(size)


def _upload(name: str, node: Server, work: Path, path: Path) -> Peer:
    head = work / "head"
    command = [*_curl(f"{node.url}/v2/files", node), "-X", "POST", "-T", str(path), "-D", str(head)]

    def remove() -> None:
        location = next(line for line in head.read_text().splitlines() if line.lower().startswith("location: "))
        _do([*_curl(location.split()[1], node), "-X", "DELETE"])

    return Peer(name, _doing(command), path.stat().st_size, remove, node.cpu_s)


def _form(name: str, node: Server, work: Path, path: Path, boundary: str | None = None) -> Peer:
    """A form that curl makes, or one whose boundary its content knows."""
    answer = work / "answer"
    command = _curl(f"{node.url}/v1.0/process", node, answer)
    if boundary is None:
        command += ["-F", f"datafile=@{path}"]
    else:
        body = work / "form"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="datafile"; filename="x"\r\n\r\n'
        body.write_bytes(head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode())
        kind = f"Content-Type: multipart/form-data; boundary={boundary}"
        command += ["-X", "POST", "-T", str(body), "-H", kind]

    def remove() -> None:
        _do([*_curl(f"{node.url}/v2/jobs/{json.loads(answer.read_text())['id']}", node), "-X", "DELETE"])

    return Peer(name, _doing(command), path.stat().st_size, remove, node.cpu_s)


def _put(nginx: Server, work: Path, path: Path) -> Peer:
    command = [*_curl(f"{nginx.url}/put"), "-T", str(path)]
    place = work / "nginx/files/put"
    return Peer("curl -T to nginx, WebDAV", _doing(command), path.stat().st_size, place.unlink, nginx.cpu_s)


def _curl(url: str, node: Server | None = None, out: Path | str = "/dev/null") -> list[str]:
    token = ["-H", f"Authorization: Bearer {node.token}"] if node is not None and node.token else []
    # No "Expect: 100-continue": nginx and nodes answer it alike, but a round of small pieces would wait for it.
    return ["curl", "-sSfk", "-o", str(out), "-H", "Expect:", *token, url]


def _do(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _doing(command: Sequence[str]) -> Callable[[], None]:
    return lambda: _do(command)


@contextlib.contextmanager
def _gzip_node(work: Path) -> Iterator[Server]:
    """A node whose v1.0 forms go to ``cast_gzip``."""
    with servers.node(work / "node", None, "--accelerator", "cast_gzip") as node:
        _json(node, "/v1.0/configuration/", "-X", "POST")
        yield node


def _json(node: Server, path: str, *arguments: str) -> Mapping[str, Any]:
    answer = subprocess.run([*_curl(node.url + path, node, "-"), *arguments], check=True, capture_output=True)
    return dict(json.loads(answer.stdout))
