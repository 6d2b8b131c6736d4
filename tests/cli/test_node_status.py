"""``acceleratorapi node status`` on instances and on nodes of a bare address."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acceleratorAPI.cli.status_view import duration, size
from acceleratorAPI.providers.certificates import make_certificate

CLI = [sys.executable, "-m", "acceleratorAPI"]


def environment(home: Path, **more: str) -> dict[str, str]:
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("ACCELERATOR_", "XDG_"))}
    return {**keep, "HOME": str(home), "XDG_STATE_HOME": str(home / "state"), **more}


def run(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CLI, *arguments], capture_output=True, text=True, env=environment(home, **more))


@pytest.fixture
def started(home: Path) -> Iterator[str]:
    """The id of an instance started under the name ``zip``, with one job done."""
    done = run(home, "start", "cast_gzip", "--name", "zip", "--json")
    assert done.returncode == 0, done.stderr
    (home / "in").write_bytes(b"abc" * 1000)
    assert run(home, "process", "zip", str(home / "in"), str(home / "out")).returncode == 0
    yield json.loads(done.stdout)["instance_id"]
    assert run(home, "stop", "zip").returncode == 0


def test_a_node_is_found_by_every_name_it_has(home: Path, started: str) -> None:
    (listed,) = json.loads(run(home, "node", "status", "--json").stdout)
    assert listed["instance"] == started
    url = listed["url"]
    for arguments in (["zip"], ["--instance", started], ["--url", url], ["--url", url.removeprefix("http://")]):
        done = run(home, "node", "status", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["instance"], found["url"], found["jobs"]["succeeded"]) == (started, url, 1)
        assert found["totals"]["bytes_in"] == 3000
    text = run(home, "node", "status", "zip").stdout
    assert text.startswith(f"node        {started} at {url}, version ")
    assert "job 1       cast_gzip: succeeded, 3.0 kB in, " in text
    assert "jobs        1 succeeded, 0 failed, 0 cancelled" in text


def test_a_bare_address_needs_its_token(home: Path, started: str) -> None:
    (listed,) = json.loads(run(home, "node", "status", "--json").stdout)
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    token = next((home / "state").rglob("tokens/*")).read_text().strip()
    done = run(elsewhere, "node", "status", "--url", listed["url"], "--json", ACCELERATOR_NODE_TOKEN=token)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["instance"] is None
    refused = run(elsewhere, "node", "status", "--url", listed["url"], ACCELERATOR_NODE_TOKEN="wrong")
    assert refused.returncode == 4
    assert refused.stderr.startswith(f"error: {listed['url']} does not take the token (any more): see ")
    assert "ACCELERATOR_NODE_TOKEN" in refused.stderr
    assert token not in done.stdout + done.stderr


@contextlib.contextmanager
def served(home: Path, *options: str) -> Iterator[tuple[Path, str]]:
    """State folder and URL of a node that was started by hand, with the default state folder."""
    command = [*CLI, "node", "serve", "--port", "0", "--slots", "1", *options]
    state = home / "state" / "acceleratorapi" / "node"
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment(home)) as process:
        try:
            deadline = time.monotonic() + 60
            while not (state / "node.json").exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield state, json.loads((state / "node.json").read_text())["url"]
        finally:
            process.terminate()
            process.wait(60)


def status(home: Path, *arguments: str, **more: str) -> dict[str, Any]:
    done = run(home, "node", "status", "--json", *arguments, **more)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (document,) = found if isinstance(found, list) else [found]
    return document


def test_a_node_served_on_this_machine(home: Path) -> None:
    with served(home) as (state, url):
        for arguments in (
            [],
            ["--state", str(state)],
            ["--url", url],
            ["--url", url.replace("http://127.0.0.1", "localhost")],
        ):
            found = status(home, *arguments)
            assert (found["url"], found["instance"]) == (url, None)
        assert run(home, "node", "status", ACCELERATOR_NODE_TOKEN="wrong").returncode == 4
    done = run(home, "node", "status", "--state", str(state))
    assert (done.returncode, str(state) in done.stderr) == (3, True)


def test_tls_and_client_certificates_are_those_of_the_configuration(home: Path, tmp_path: Path) -> None:
    ours, theirs = make_certificate(), make_certificate()
    for name, made in (("ours", ours), ("theirs", theirs)):
        (tmp_path / name).mkdir()
        made.write(tmp_path / name)
    (tmp_path / "both.pem").write_bytes(ours.certificate + ours.key)
    files = {"cert": "theirs/tls-cert", "key": "theirs/tls-key", "client-ca": "ours/tls-cert"}
    options = [part for name, file in files.items() for part in (f"--tls-{name}", f"{tmp_path}/{file}.pem")]
    conf = tmp_path / "accelerator.conf"
    conf.write_text(f"[general]\nclient_certificate = {tmp_path}/both.pem\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with served(home, *options) as (state, url):
        assert status(home, "--conf", str(conf))["url"] == url
        assert status(elsewhere, "--state", str(state), "--conf", str(conf))["url"] == url
        token = (state / "token").read_text().strip()
        known = f"node_token = {token}\nnode_fingerprint = {theirs.fingerprint}\n"
        conf.write_text(conf.read_text() + known)
        assert status(elsewhere, "--url", url.removeprefix("https://"), "--conf", str(conf))["url"] == url
        conf.write_text(conf.read_text().replace(theirs.fingerprint, ours.fingerprint))
        assert run(elsewhere, "node", "status", "--url", url, "--conf", str(conf)).returncode == 3


def test_watching_in_json_is_a_line_a_look(home: Path, started: str) -> None:
    command = [*CLI, "node", "status", "zip", "--watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(home)) as process:
        assert process.stdout is not None
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert second["uptime_s"] > first["uptime_s"]


def test_watching_on_a_terminal_until_ctrl_c(home: Path, started: str) -> None:
    ours, theirs = pty.openpty()
    command = [*CLI, "node", "status", "zip", "--watch"]
    with subprocess.Popen(command, stdout=theirs, env=environment(home, TERM="xterm", COLUMNS="100")) as process:
        os.close(theirs)
        screen = b""
        while screen.count(b"processes") < 2:
            screen += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                screen += os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
        assert process.wait(30) == 130
    os.close(ours)
    assert b"Traceback" not in screen


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 3, "no LOCAL instance runs"),
        (["nobody"], 2, "no accelerator named 'nobody'"),
        (["--instance", "local-0"], 3, "local-0"),
        (["--url", "127.0.0.1:9"], 3, "nothing answers at http://127.0.0.1:9"),
        (["x", "--url", "y"], 2, "give one of them"),
    ],
)
def test_what_cannot_be_shown_is_one_clear_line(home: Path, arguments: list[str], code: int, words: str) -> None:
    done = run(home, "node", "status", *arguments)
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert words in line
    assert done.stdout == ""


def test_the_end_of_a_watched_node_is_an_error(home: Path) -> None:
    assert run(home, "start", "cast_gzip", "--name", "zip").returncode == 0
    command = [*CLI, "node", "status", "zip", "--watch", "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=environment(home)) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        assert run(home, "stop", "zip").returncode == 0
        _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (5_100_000, "5.1 MB"), (2e18, "2000.0 PB")]
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (99, "99.0 s"), (600, "10.0 min"), (7200, "2.0 h"), (864000, "10.0 d")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
