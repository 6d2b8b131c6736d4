"""Servers that transfers are measured against or by: nginx, a plain FastAPI app, and a node of ours."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_max_body_size 0;
  client_body_buffer_size 1m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    {tls}
    root {folder}/files;
    location / {{ dav_methods PUT DELETE; create_full_put_path on; }}
  }}
}}
"""
_NGINX_TLS = "listen 127.0.0.1:{port} ssl; ssl_certificate {cert}; ssl_certificate_key {key};"
_FASTAPI = """
import shutil, sys
import uvicorn
from fastapi import FastAPI, UploadFile

app = FastAPI()

@app.post("/")
def take(datafile: UploadFile):
    with open(sys.argv[2], "wb") as file:
        shutil.copyfileobj(datafile.file, file, 1 << 20)

uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="warning")
"""
_STARTS_S = 30.0


@dataclass
class Server:
    """One server on loopback. ``tls_url`` speaks TLS."""

    url: str
    process: psutil.Process
    token: str = ""
    tls_url: str = ""

    def cpu_s(self) -> float:
        """Processor time the server has used; that of worker processes of a node is not the server's."""
        own = [self.process] if self.process.name() != "nginx" else [self.process, *self.process.children()]
        times = [process.cpu_times() for process in own]
        return sum(time.user + time.system for time in times)


@dataclass(frozen=True)
class Certificate:
    """PEM files for 127.0.0.1, and the certificate's SHA-256."""

    cert: Path
    key: Path
    fingerprint: str


def make_certificate(folder: Path) -> Certificate:
    """A certificate as nodes have them."""
    command = [sys.executable, "-m", "acceleratorAPI", "node", "certificate", str(folder), "--name", "127.0.0.1"]
    fingerprint = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return Certificate(folder / "tls-cert.pem", folder / "tls-key.pem", fingerprint)


class MissingPeerError(Exception):
    """A peer is not installed; the message says how to."""


@contextlib.contextmanager
def nginx(folder: Path, certificate: Certificate | None = None) -> Iterator[Server]:
    """nginx with WebDAV's PUT into ``folder/files``.

    Raises:
        MissingPeerError: it is not installed.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise MissingPeerError("there is no nginx here: apt-get install nginx-light")
    (folder / "files").mkdir(parents=True)
    port, tls_port = _free_ports(2)
    secure = ""
    if certificate is not None:
        secure = _NGINX_TLS.format(port=tls_port, cert=certificate.cert, key=certificate.key)
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=port, tls=secure))
    command = [program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    if os.getuid() == 0:
        # Else its worker could not enter the benchmark's folder.
        command += ["-g", "user root;"]
    with _running(command, port) as process:
        yield Server(f"http://127.0.0.1:{port}", process, tls_url=f"https://127.0.0.1:{tls_port}")


@contextlib.contextmanager
def fastapi(folder: Path) -> Iterator[Server]:
    """What one writes first: ``UploadFile``, copied to where it belongs."""
    (port,) = _free_ports(1)
    with _running([sys.executable, "-c", _FASTAPI, str(port), str(folder / "fastapi.bin")], port) as process:
        yield Server(f"http://127.0.0.1:{port}", process)


@contextlib.contextmanager
def node(state: Path, certificate: Certificate | None = None, *options: str) -> Iterator[Server]:
    """A node as a remote machine would have it: it shares no files with its client."""
    (port,) = _free_ports(1)
    command = [sys.executable, "-m", "acceleratorAPI.node", "--port", str(port), "--state", str(state), *options]
    if certificate is not None:
        command += ["--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key)]
    with _running(command, port, state.with_name("node.log")) as process:
        record = state / "node.json"
        while not record.exists():
            time.sleep(0.01)
        url = json.loads(record.read_text())["url"]
        yield Server(url, process, (state / "token").read_text().strip())


@contextlib.contextmanager
def _running(command: list[str], port: int, log: Path | None = None) -> Iterator[psutil.Process]:
    """A server that listens on ``port``; what it logs goes to a file, or where this process's errors go."""
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(log.open("wb")) if log is not None else None
        process = stack.enter_context(subprocess.Popen(command, stderr=errors))
        try:
            deadline = time.monotonic() + _STARTS_S
            while time.monotonic() < deadline and process.poll() is None:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.02)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in sockets]
