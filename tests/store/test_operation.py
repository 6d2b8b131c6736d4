"""Running a store: health, figures, backup and restore, deploy checks, operators."""

from __future__ import annotations

import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import urllib3
from django.test import Client
from stores import StoreProcess

from acceleratorAPI.errors import AuthenticationError


def run(store: StoreProcess, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "acceleratorAPI", *arguments]
    return subprocess.run(
        command, env=store.environment | more, capture_output=True, text=True, check=False, input=more.get("input")
    )


@pytest.mark.django_db
def test_health_and_figures() -> None:
    assert Client().get("/health/live").json() == {"status": "live"}
    assert Client().get("/health/ready").json() == {"status": "ready"}
    assert Client().get("/metrics").status_code == 401
    assert Client().get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    text = Client().get("/metrics", headers={"Authorization": "Bearer figures"}).content.decode()
    assert 'store_requests_total{method="GET",route="health/ready",status="200"}' in text


def test_deploy_checks_are_clean(tmp_path: Path) -> None:
    environment = os.environ | {"STORE_STATE": str(tmp_path), "STORE_URL": "https://store.example.org"}
    command = [sys.executable, "-m", "django", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_no_migration_is_missing(tmp_path: Path) -> None:
    environment = os.environ | {"STORE_STATE": str(tmp_path)}
    command = [sys.executable, "-m", "django", "makemigrations", "--check", "--dry-run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("url", ["http://store.example.org", "store", "ftp://127.0.0.1"])
def test_keys_do_not_travel_in_the_clear(tmp_path: Path, url: str) -> None:
    done = run(StoreProcess(tmp_path), "store", "up", "--url", url)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "STORE_URL" in done.stderr


class _Mailbox(socketserver.StreamRequestHandler):
    """As much SMTP as one mail needs."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                while (line := self.rfile.readline()) != b".\r\n":
                    self.server.lines.append(line)  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")


def test_mail_goes_to_the_log_or_by_smtp(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "django", "sendtestemail", "ada@example.org"]
    environment = os.environ | {"STORE_STATE": str(tmp_path), "STORE_MAIL_FROM": "store@example.org"}
    logged = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "To: ada@example.org" in logged
    with socketserver.TCPServer(("127.0.0.1", 0), _Mailbox) as server:
        server.lines = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        place = f"smtp://127.0.0.1:{server.server_address[1]}"
        done = subprocess.run(command, env=environment | {"STORE_SMTP": place}, capture_output=True, check=True)
        thread.join()
    assert done.stdout == b""
    sent = b"".join(server.lines)  # type: ignore[attr-defined]
    assert b"To: ada@example.org" in sent
    assert b"From: store@example.org" in sent


def test_cookies_off_this_machine_travel_by_https_alone(tmp_path: Path) -> None:
    names = "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_HSTS_SECONDS"
    code = f"from django.conf import settings; print(*(getattr(settings, name) for name in {names}))"
    environment = os.environ | {"STORE_STATE": str(tmp_path), "STORE_URL": "https://store.example.org"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", str(365 * 86400)]


def test_a_port_that_is_taken_is_said_in_one_line_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = run(StoreProcess(tmp_path), "store", "up", "--port", port)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--port" in done.stderr
    assert not (tmp_path / "store" / "store.db").exists()


def test_a_backup_brings_everything_back(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path)
    client_id, secret = store.tenant("ada")
    file = tmp_path / "store.tar.gz"
    assert run(store, "store", "backup", str(file)).returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    other = StoreProcess(tmp_path)
    other.environment["STORE_STATE"] = str(tmp_path / "other")
    restored = run(other, "store", "restore", str(file), "--state", str(tmp_path / "other"))
    assert restored.returncode == 0, restored.stderr
    assert (tmp_path / "other" / "keys.json").stat().st_mode & 0o777 == 0o600
    again = run(other, "store", "restore", str(file), "--state", str(tmp_path / "other"))
    assert again.returncode == 2
    other.up()
    try:
        assert other.usage(client_id, secret)["total"]["jobs"] == 0
        with pytest.raises(AuthenticationError):
            other.usage(client_id, "acs_wrong")
        made = run(other, "store", "operator", "op@example.org", input="a long enough password\n")
        assert made.returncode == 0, made.stderr
        assert run(other, "store", "operator", "op@example.org", input="short\n").returncode == 2
        assert urllib3.request("GET", f"{other.url}/admin/login/").status == 200
    finally:
        other.down()
    assert secret not in other.log


def test_a_killed_store_leaves_nothing_that_holds_its_port(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path)
    store.up()
    assert store.process is not None
    serving = psutil.Process(store.process.pid).children()
    for process in serving:
        process.suspend()  # it cannot end by itself
    store.down(signal.SIGKILL)
    left = psutil.wait_procs(serving, 10)[1]
    for process in left:
        process.kill()
    assert not left


def test_a_damaged_backup_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path)
    file = tmp_path / "bad.tar.gz"
    file.write_bytes(b"no tar at all")
    done = run(store, "store", "restore", str(file), "--state", str(tmp_path / "new"))
    assert done.returncode == 2
    assert not (tmp_path / "new").exists()
