"""What a hostile function can do: nothing, or, on a kernel without the means, what the node's log does not deny."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Attack = Callable[[str, str], str]


def attacker(node: Any) -> Attack:
    configuration = node.configure("test_hostile")

    def attack(what: str, path: str) -> str:
        record = node.ended(node.send(configuration, None, what=what, path=path))
        app = record["parametersresult"]["app"]
        return str(app["specific"].get("said", app["msg"]))

    return attack


def protections(node: Any) -> list[str]:
    (line,) = {
        line.partition("protected by: ")[2].rstrip('"}') for line in node.log.splitlines() if "protected by" in line
    }
    return list(line.split(", "))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    (folder / "mine").mkdir()
    (folder / "secret").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def boxed(tmp_path_factory: pytest.TempPathFactory, node_kind: Any, place: Path) -> Iterator[Any]:
    """A node whose functions may use one folder."""
    found = node_kind(tmp_path_factory.mktemp("boxed"))
    yield found("--slots", "1", "--files-under", str(place / "mine"))
    found.end()


@pytest.fixture(scope="module")
def attack(boxed: Any) -> Attack:
    return attacker(boxed)


def test_what_holds_everywhere(boxed: Any, attack: Attack) -> None:
    assert attack("core", "") == "(0, 0)"
    assert attack("privileges", "").split()[-1] == "1"
    assert attack("temporary", "") == "made"
    assert attack("pair", "") == "paired"
    assert {"no core dumps", "no new privileges"} <= set(protections(boxed))


def test_no_network(boxed: Any, attack: Attack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        said = attack("inet", str(listener.getsockname()[1]))
        listener.settimeout(0.2)
        if "no network" in protections(boxed):
            assert said in ("EACCES", "ENETUNREACH")
            with pytest.raises(TimeoutError):
                listener.accept()
        else:
            assert said == "connected"
    if "no sockets" in protections(boxed):
        assert attack("make_socket", "") == "EACCES"


def test_no_other_files(boxed: Any, attack: Attack, place: Path, tmp_path: Path) -> None:
    attempts = [
        ("write", tmp_path / "new"),
        ("write", place / "secret"),
        ("remove", place / "secret"),
        ("read", place / "secret"),
        ("read", boxed.state / "token"),
        ("read", boxed.state / "node.db"),
        ("write", boxed.state / "tokens.json"),
        ("list", place),
        ("list", Path("/root" if os.geteuid() == 0 else os.environ["HOME"])),
        ("write", place / "mine" / ".." / "other"),
    ]
    said = {f"{what} {path}": attack(what, str(path)) for what, path in attempts}
    if "files" in protections(boxed):
        assert set(said.values()) == {"EACCES"}, said
        assert attack("child", str(tmp_path / "by-child")) == "1"
        assert attack("signal_node", "") in ("EPERM", "signalled")
        assert attack("memory_of_node", "") in ("EACCES", "EPERM")
        assert (place / "secret").read_text() == "secret"
        assert not list(tmp_path.iterdir())
    else:
        assert "EACCES" not in said.values(), said
    assert attack("write", str(place / "mine" / "out")) == "written"


def test_no_other_jobs_files(boxed: Any, attack: Attack) -> None:
    """Whatever it knows of them: a function is given its own files open, and can open none of the spool by name."""
    copier = boxed.configure("test_copy")
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "9", "Content-Type": "application/offset+octet-stream"}
    sent = boxed.request("POST", "/v2/files/", b"another's", headers).headers["Location"]
    other = boxed.ended(boxed.send(copier, b"another's"))
    words = boxed.configure("test_words", b"a,b")
    spool = [boxed.state / "spool" / name for name in boxed.spool()]
    assert len(spool) >= 3
    temporary = boxed.state / "tmp"
    (temporary / "1").mkdir()
    (temporary / "1" / "left").write_text("by another slot")
    attempts = [
        ("list", boxed.state / "spool"), ("list", boxed.state), ("list", temporary), ("list", temporary / "1"),
        ("read", temporary / "1" / "left"), ("read", boxed.state / "node.db-wal"), ("read", boxed.state / "lock"),
        ("read", f"/proc/{boxed.process.pid}/environ"), ("read", f"/proc/{boxed.process.pid}/fd/0"),
        *((what, path) for path in spool for what in ("read", "write", "remove")),
        ("write", boxed.state / "spool" / "new"), ("write", temporary / "0.datafiles" / words["id"]),
    ]  # fmt: skip
    said = {f"{what} {path}": attack(what, str(path)) for what, path in attempts}
    if "files" in protections(boxed):
        assert {name: word for name, word in said.items() if word not in ("EACCES", "EPERM")} == {}
    assert boxed.get(f"/v1.0/process/{other['id']}/datafileresult").body == b"another's"
    assert boxed.ended(boxed.send(words, b"banana"))["parametersresult"]["app"]["status"] == 0
    assert boxed.request("DELETE", sent).status == 204


def test_a_job_that_took_its_worker_over_is_given_its_own_output_only(boxed: Any, place: Path) -> None:
    hostile = boxed.configure("test_hostile")
    target = place / "mine" / "kept"
    target.write_bytes(b"the user's")
    parameters = json.dumps({"app": {"specific": {"what": "ask"}}})
    fields = {"configuration": hostile["url"], "target": str(target), "parameters": parameters}
    record = boxed.ended(boxed.post("/v1.0/process/", fields).json)
    assert record["inerror"]
    assert target.read_bytes() == b"the user's"
    assert boxed.ended(boxed.send(boxed.configure("test_copy"), b"next"))["parametersresult"]["app"]["status"] == 0


def test_a_function_that_leaks_files_costs_the_next_job_nothing(boxed: Any, attack: Attack) -> None:
    copier = boxed.configure("test_copy")
    assert attack("leak", "") == "leaked"
    app = boxed.ended(boxed.send(copier, bytes(3_000_000)))["parametersresult"]["app"]
    assert app["status"] == 0, app["msg"]


def test_jobs_in_place_work(boxed: Any, place: Path) -> None:
    source, target = place / "mine" / "in.txt", place / "mine" / "out.txt"
    source.write_bytes(b"x" * 3_000_000)
    target.write_bytes(b"old")
    target.chmod(0o640)
    copier = boxed.configure("test_copy")
    fields = {"configuration": copier["url"], "source": str(source), "target": str(target)}
    for _ in range(2):
        assert not boxed.ended(boxed.post("/v1.0/process/", fields).json)["inerror"]
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mode & 0o777 == 0o640
    real = boxed.configure("cast_gzip")
    fields = {"configuration": real["url"], "source": str(source), "target": str(target)}
    assert not boxed.ended(boxed.post("/v1.0/process/", fields).json)["inerror"]
    assert subprocess.run(["gzip", "-dc", target], capture_output=True, check=True).stdout == source.read_bytes()


def test_off_and_allowed(nodes: Any, place: Path, tmp_path: Path) -> None:
    off = nodes("--slots", "1", "--sandbox", "off", "--worker-memory", str(1 << 30))
    said = attacker(off)
    assert said("write", str(tmp_path / "new")) == "written"
    assert said("core", "") == "(0, 0)"
    assert said("memory", str(2 << 30)) == "MemoryError"
    assert protections(off) == ["no core dumps", f"{1 << 30} bytes of memory"]
    allowed = nodes("--slots", "1", "--sandbox-allow", str(place / "secret"))
    assert attacker(allowed)("read", str(place / "secret")) == "read"
    open_to_all = nodes("--slots", "1", "--files-under", "/")
    assert attacker(open_to_all)("read", str(place / "secret")) == "read"
    assert "files" not in protections(open_to_all)


def test_the_nodes_environment_is_not_the_workers(nodes: Any) -> None:
    nodes.environment.update(AWS_SECRET_ACCESS_KEY="canary", MY_TOKEN="canary", HARMLESS="seen")
    said = attacker(nodes("--slots", "1"))("environment", "")
    assert "HARMLESS=seen" in said
    assert "canary" not in said


def test_require(nodes: Any, boxed: Any) -> None:
    refused = nodes.spawn("--sandbox", "require", "--files-under", "/")
    assert refused.process.wait(60) == 2
    assert "--sandbox require: missing here: " in refused.log
    assert "files" in refused.log
    assert len(refused.log.splitlines()) == 1
    if {"no network", "files"} <= set(protections(boxed)):
        node = nodes("--slots", "1", "--sandbox", "require")
        assert attacker(node)("inet", "9") in ("EACCES", "ENETUNREACH")


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests run as an ordinary user already")
def test_as_an_ordinary_user(boxed: Any) -> None:
    """Root keeps its user namespace; everybody else gets one of their own."""
    program = """
import ctypes, os, sys
from acceleratorAPI.node.sandbox import Sandbox, enter
os.setgroups([]); os.setgid(65534); os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # readable in /proc again, as after exec
found = enter(Sandbox("auto", (sys.argv[1],)))
open(sys.argv[1] + "/x", "w").close()
print(os.geteuid(), *found, sep=", ")
"""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chown(folder, 65534, 65534)
        command = [sys.executable, "-c", program, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert Path(folder, "x").stat().st_uid == 65534
    found = done.stdout.strip().split(", ")
    assert found[:3] == ["65534", "no core dumps", "no new privileges"]
    assert ("files" in found) == ("files" in protections(boxed))
