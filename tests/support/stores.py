"""A store as a process of its own, for what needs a socket: clients, nodes, browsers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import urllib3

_MAKE = """
import json, sys
from acceleratorAPI.store import operate
operate.prepare()
operate.migrate()
from acceleratorAPI.store.models import Application, Organisation, User
name, scopes, jobs = sys.argv[1:]
user = User.objects.create_user(f"{name}@example.org", "correct horse battery")
application, secret = Application.make(Organisation.found(name, user), f"{name}'s key", scopes)
application.quota_jobs = int(jobs) if jobs else None
application.save()
print(json.dumps([application.client_id, secret]))
"""
ALL_SCOPES = "process usage:read introspection catalogue:write"


class StoreProcess:
    """Its folder, and the process while there is one."""

    def __init__(self, folder: Path, database: str = "") -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "STORE_STATE": str(folder / "store"),
            "STORE_URL": self.url,
            "STORE_MAIL_FROM": "s@example.org",
        }
        self.environment.pop("DJANGO_SETTINGS_MODULE", None)
        if database:
            self.environment["DATABASE_URL"] = database
        self.process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "acceleratorAPI", "store", "up", "--port", str(self.port)]
        with open(self.folder / "store.log", "ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log
            try:
                if urllib3.request("GET", f"{self.url}/health/ready", retries=False, timeout=2).status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                time.sleep(0.1)
        raise AssertionError(self.log)

    def down(self, sig: int = signal.SIGTERM) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(sig)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def tenant(self, name: str, scopes: str = ALL_SCOPES, quota_jobs: int | None = None) -> tuple[str, str]:
        """A new organisation's client id and secret."""
        import json

        jobs = "" if quota_jobs is None else str(quota_jobs)
        made = subprocess.run(
            [sys.executable, "-c", _MAKE, name, scopes, jobs],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        client_id, secret = json.loads(made.stdout.splitlines()[-1])
        return client_id, secret

    def usage(self, client_id: str, secret: str, query: str = "") -> Any:
        """What the store says of an organisation's usage."""
        from acceleratorAPI.client.store import StoreClient

        return StoreClient(self.url, client_id, secret).get(f"/api/v1/usage{query}")

    @property
    def log(self) -> str:
        return (self.folder / "store.log").read_text()
