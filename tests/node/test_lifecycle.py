from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
from node.conftest import environment, eventually


def owner() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


def gone(node: Any) -> None:
    node.process.wait(60)


@pytest.fixture
def one_owner() -> Any:
    process = owner()
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("at_end", ["terminate", "stop"])
def test_the_node_ends_with_its_owner_while_a_job_runs(nodes: Any, one_owner: Any, at_end: str) -> None:
    node = nodes("--auth", "none", "--slots", "1", "--owner", str(one_owner.pid), "--at-end", at_end)
    slow = node.configure("test_slow")
    node.until(node.send(slow, b"x" * 5000), lambda r: r["progress"]["bytes_in"] > 0)
    workers = node.workers()
    assert workers
    # Not waited for: a zombie is gone as well.
    one_owner.kill()
    gone(node)
    assert node.process.returncode == 0
    psutil.wait_procs(workers, 30)
    assert not any(worker.is_running() for worker in workers)
    assert node.state.exists() == (at_end == "stop")
    assert not (node.state / "node.json").exists()


def test_the_node_ends_with_its_owner_while_an_upload_streams(nodes: Any, one_owner: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1", "--owner", str(one_owner.pid), "--accelerator", "test_copy")
    node.configure("test_copy")
    with socket.create_connection(node.address, 60) as connection:
        connection.sendall(
            b"POST /v1.0/process/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n"
            b"Content-Type: multipart/form-data; boundary=bd\r\n\r\n--bd\r\nContent-Disposition: form-data;"
            b' name="datafile"; filename="x"\r\n\r\nabc'
        )
        one_owner.kill()
        gone(node)
    assert not node.state.exists()


def test_the_node_ends_with_its_owner_while_it_starts(nodes: Any, one_owner: Any) -> None:
    node = nodes.spawn("--owner", str(one_owner.pid))
    one_owner.kill()
    one_owner.wait()
    assert node.process.wait(60) in (0, 2)
    assert not node.state.exists()


def test_a_lease_never_removes_what_is_not_the_nodes(nodes: Any, one_owner: Any) -> None:
    other = nodes("--auth", "none", "--slots", "1")
    (other.state / "mine").write_text("kept")
    # A second node on the same folder, whose owner is gone already, must leave the first one's files.
    process = owner()
    process.kill()
    process.wait()
    second = nodes.spawn("--owner", str(process.pid), state=other.state)
    assert second.process.wait(60) == 2
    assert other.get("/health/ready").status == 200
    assert (other.state / "node.db").exists()
    leased = other.request(
        "PUT", "/v2/lease", json.dumps({"owner_pid": one_owner.pid}), {"Content-Type": "application/json"}
    )
    assert leased.json == {
        "owner_pid": one_owner.pid,
        "at_end": "terminate",
        "seconds": None,
        "extend": False,
        "notice": "",
    }
    one_owner.kill()
    gone(other)
    assert [path.name for path in other.state.iterdir()] == ["mine"]


def test_a_machine_that_is_taken_away_begins_nothing_new(nodes: Any, tmp_path: Path) -> None:
    notice = tmp_path / "notice"
    node = nodes("--accelerator", "test_copy", "--notice-file", str(notice))
    configuration = node.configure("test_copy")
    assert node.ended(node.send(configuration, b"before"))["progress"]["bytes_out"] == 6
    assert (node.get("/v2/lease").json["notice"], node.get("/v2/node").json["notice"]) == ("", "")
    notice.write_text("taken  back at noon\nand more\n")
    eventually(lambda: node.get("/v2/lease").json["notice"])
    assert node.get("/v2/node").json["notice"] == "taken back at noon"
    fields = {"configuration": configuration["id"], "parameters": "{}"}
    answer = node.post("/v1.0/process/", fields, b"after")
    assert (answer.status, answer.json["code"]) == (503, "machine-ending")
    assert answer.json["detail"] == "the node takes no more work: taken back at noon"
    assert node.get("/health/ready").status == 503
    assert node.get("/health/live").status == 200


def test_a_lease_can_be_given_up(nodes: Any, one_owner: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1", "--owner", str(one_owner.pid))
    answer = node.get("/v2/lease")
    assert answer.json == {
        "owner_pid": one_owner.pid,
        "at_end": "terminate",
        "seconds": None,
        "extend": False,
        "notice": "",
    }
    put = {"Content-Type": "application/json"}
    assert node.request("PUT", "/v2/lease", '{"owner_pid": null}', put).status == 200
    one_owner.kill()
    one_owner.wait()
    time.sleep(2.5)
    assert node.get("/health/live").status == 200
    for body in (
        '{"owner_pid": 999999999}',
        '{"owner_pid": -1}',
        f'{{"owner_pid": {one_owner.pid}}}',
        '{"at_end": "x"}',
    ):
        answer = node.request("PUT", "/v2/lease", body, put)
        assert answer.status == 400, body
        assert answer.json["inerror"] is True
    assert node.get("/v2/lease").json["owner_pid"] is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_node_and_its_jobs_begin_again_at_the_next_start(nodes: Any, number: int) -> None:
    first = nodes("--auth", "none", "--slots", "2", "--drain", "0")
    slow = first.configure("test_slow")
    jobs = [first.send(slow, b"x" * 5000, seconds=600), first.send(slow, b"abc", seconds=0.2)]
    first.until(jobs[0], lambda r: r["progress"]["bytes_in"] > 0)
    workers = first.workers()
    first.process.send_signal(number)
    assert first.process.wait(60) == 0
    assert not any(worker.is_running() for worker in workers)
    assert not (first.state / "node.json").exists()
    assert not [name for name in first.spool() if name.endswith(".partial")]
    node = nodes("--auth", "none", "--slots", "2", state=first.state)
    assert node.get(node.ended(jobs[1])["datafileresult"]).body == b"abc"
    node.until(jobs[0], lambda r: r["progress"]["bytes_in"] > 0)
    assert node.request("DELETE", f"/v2/jobs/{jobs[0]['id']}").status == 204


def test_running_jobs_may_finish_first(nodes: Any) -> None:
    first = nodes("--auth", "none", "--slots", "1")
    job = first.send(first.configure("test_slow"), b"x" * 5000, seconds=2)
    first.until(job, lambda r: r["progress"]["bytes_in"] > 0)
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(60) == 0
    node = nodes("--auth", "none", "--slots", "1", state=first.state)
    record = node.get(f"/v2/jobs/{job['id']}").json
    assert (record["progress"]["state"], record["attempts"]) == ("succeeded", 1)


def test_a_second_signal_ends_it_at_once(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1", "--accelerator", "test_copy")
    node.configure("test_copy")
    with socket.create_connection(node.address, 60) as connection:
        connection.sendall(
            b"POST /v1.0/process/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n"
            b"Content-Type: multipart/form-data; boundary=bd\r\n\r\n--bd\r\n"
        )
        node.process.send_signal(signal.SIGTERM)
        while "ending" not in node.log:
            time.sleep(0.02)
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(60) == 0


def test_a_signal_in_the_middle_of_a_line_of_the_log_ends_the_node(nodes: Any, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*nodes.command, "--port", "0", "--auth", "none", "--state", str(tmp_path / "state"), "--access-log"],
        env={**environment(), "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        listening = json.loads(process.stderr.readline())["event"]
        url = listening.split()[2].rstrip(",")
        fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 4096)
        with contextlib.suppress(TimeoutError):  # the pipe is full: the node waits for its reader
            for _ in range(1000):
                urllib.request.urlopen(f"{url}/health/live", timeout=3).close()
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=60)[1]
        assert process.returncode == 0
        assert b"Logging error" not in log
        assert b"SIGTERM: ending" in log
    finally:
        process.kill()
        process.communicate()


def test_workers_ignore_ctrl_c_and_die_with_a_killed_node(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1")
    slow = node.configure("test_slow")
    job = node.until(node.send(slow, b"x" * 5000), lambda r: r["progress"]["bytes_in"] > 0)
    (worker,) = node.workers()
    worker.send_signal(signal.SIGINT)
    node.until(job, lambda r: r["progress"]["bytes_in"] > job["progress"]["bytes_in"])
    node.process.kill()
    node.process.wait()
    psutil.wait_procs([worker], 30)
    assert not worker.is_running()


def test_restart_on_the_same_state(nodes: Any) -> None:
    first = nodes("--auth", "none", "--slots", "1")
    words = first.configure("test_words", b"a,b")
    done = first.ended(first.send(words, b"banana"))
    secured = first.configure("test_words", b"a,c", password="hush-hush")
    slow = first.configure("test_slow")
    active = first.configure("test_words", b"a,d")
    running, waiting = first.send(slow, b"x" * 5000, seconds=3), first.send(slow, b"abc", seconds=0)
    first.until(running, lambda r: r["progress"]["bytes_in"] > 0)
    (first.state / "spool" / ("0" * 32)).write_bytes(b"orphan")
    first.process.kill()
    first.process.wait()
    node = nodes("--auth", "none", "--slots", "1", state=first.state)
    record = node.get(f"/v1.0/process/{done['id']}").json
    assert node.get(record["datafileresult"]).body == b"bbnbnb"
    for job, content in ((running, b"x" * 5000), (waiting, b"abc")):
        record = node.ended(job)
        assert (record["inerror"], node.get(record["datafileresult"]).body) == (False, content)
        assert node.get(f"/v2/jobs/{job['id']}").json["attempts"] == 2
    assert node.get(active["url"].removeprefix(first.url)).json["used"] is True
    job = node.ended(node.post("/v1.0/process/", {}, b"banana").json)
    assert node.get(job["datafileresult"]).body == b"bdndnd"
    job = node.ended(node.send({"url": words["url"]}, b"banana"))
    assert node.get(job["datafileresult"]).body == b"bbnbnb"
    # Its parameter was a secret, and so is not on the disk.
    assert node.post("/v1.0/process/", {"configuration": secured["url"]}, b"a").status == 409
    assert ("0" * 32) not in node.spool()
    assert int(node.send({"url": words["url"]}, b"x")["id"]) > int(waiting["id"])


def run(tmp_path: Path, *options: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "acceleratorAPI.node", *options],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "xdg")}, **changes,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = refused(run(tmp_path, "--port", str(port)))
    assert f"cannot listen on 127.0.0.1 port {port}" in message
    assert "0 for a free one" in message


def test_a_state_folder_in_use(nodes: Any, tmp_path: Path) -> None:
    node = nodes("--auth", "none", "--slots", "1")
    message = refused(run(tmp_path, "--port", "0", "--state", str(node.state)))
    assert f"in use by another node ({node.url}, process {node.process.pid})" in message


def test_a_state_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = refused(run(tmp_path, "--port", "0", "--state", str(tmp_path / "file" / "state")))
    assert "name a writable folder" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--accelerator", "cast_gzpi"], "no such function is installed; did you mean 'cast_gzip'?"),
        (["--auth", "none", "--host", "0.0.0.0"], "use --auth token, or --host 127.0.0.1"),
        (["--host", "256.0.0.1", "--insecure"], "--host '256.0.0.1'"),
        (["--port", "70000"], "use 0 (a free one) to 65535"),
        (["--slots", "0"], "--slots 0: use 1 or more"),
        (["--max-output", "0"], "--max-output 0: use 1 or more, or leave it out"),
        (["--queue", "-1"], "--queue -1: use 0 or more"),
        (["--public-url", "ftp://x"], "use http(s)://name[:port][/path]"),
        (["--files-under", "/nowhere/at/all"], "no such folder"),
        (["--host", "0.0.0.0"], "use --tls-cert and --tls-key, or --public-url https"),
        (["--host", "0.0.0.0", "--public-url", "http://n.example"], "or say --insecure"),
        (["--tls-cert", "x"], "--tls-cert and --tls-key go together"),
        (["--tls-client-ca", "x"], "--tls-client-ca needs --tls-cert"),
        (["--tls-cert", "/nowhere/c", "--tls-key", "/nowhere/k"], "cannot be used: No such file"),
        (["--tls-cert", "/etc/hostname", "--tls-key", "/dev/null"], "may be read by everybody"),
        (["--token-file", "/nowhere/token"], "cannot read the token file"),
        (["--owner", "999999999"], "there is no such process"),
    ],
)
def test_wrong_options(tmp_path: Path, options: list[str], message: str) -> None:
    assert message in refused(run(tmp_path, "--port", "0", "--state", str(tmp_path / "state"), *options))


def test_help_has_examples(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert "exit codes:" in done.stdout


def test_a_foreign_database(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "node.db").write_text("this is no database" * 100)
    assert "cannot use the node's database" in refused(run(tmp_path, "--port", "0", "--state", str(state)))


def test_the_state_folder_is_private(nodes: Any) -> None:
    node = nodes("--slots", "1")
    assert node.state.stat().st_mode & 0o777 == 0o700
    assert (node.state / "token").stat().st_mode & 0o777 == 0o600
    assert (node.state / "spool").stat().st_mode & 0o777 == 0o700
    record = json.loads((node.state / "node.json").read_text())
    process = psutil.Process(record["pid"])
    assert process.create_time() == pytest.approx(record["create_time"], abs=0.1)
    assert len(node.token) >= 43
    node.end()
    again = nodes("--slots", "1", state=node.state)
    assert again.token == node.token


def test_memory_stays_small(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1")
    copy = node.configure("test_copy")
    body = b"".join([
        b'--bd\r\nContent-Disposition: form-data; name="datafile"; filename="x"\r\n\r\n',
        bytes(64 << 20), b"\r\n--bd--\r\n",
    ])  # fmt: skip
    answer = node.request("POST", "/v1.0/process/", body, {"Content-Type": "multipart/form-data; boundary=bd"})
    job = node.ended(answer.json)
    assert job["configuration"] == copy["url"]
    assert len(node.get(job["datafileresult"]).body) == 64 << 20
    assert psutil.Process(node.process.pid).memory_info().rss < 100e6
    (worker,) = node.workers()
    assert worker.memory_info().rss < 60e6
