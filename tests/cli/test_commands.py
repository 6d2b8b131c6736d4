"""The command line as a person and as a script use it, in processes of its own."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import psutil
import pytest
import typer
from remote_servers import WebServer, _certificate, web  # noqa: F401
from rich.text import Text

from acceleratorAPI.cli.main import app

CLI = [sys.executable, "-m", "acceleratorAPI"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of its own for every test, nodes in it ended at the end."""
    return tmp_path / "home"


def environment(home: Path) -> dict[str, str]:
    home.mkdir(exist_ok=True)
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("ACCELERATOR_", "XDG_"))}
    return {**keep, "HOME": str(home)}


def run(home: Path, *arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*CLI, *map(str, arguments)], input=stdin, capture_output=True, env=environment(home))


def nodes_of(home: Path) -> list[psutil.Process]:
    """The node processes whose state lies below ``home``."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(home) in word for word in process.info["cmdline"] or [])
        and "acceleratorAPI.node" in (process.info["cmdline"] or [])
    ]


def test_process_in_one_go(home: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"abc" * 1000)
    done = run(home, "process", "cast_gzip", tmp_path / "in", tmp_path / "out.gz", "-p", "level=2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bytes_in"] == 3000
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == b"abc" * 1000
    assert nodes_of(home) == []


def test_no_output_is_dropped_without_a_word(home: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"abc")
    for arguments, said in (
        (("in",), "aclz_tgz gives a file: name OUT"),
        (("in", "out", "-p", "startOfTx=1"), "aclz_tgz gave nothing for "),
    ):
        words = [tmp_path / word if word in ("in", "out") else word for word in arguments]
        done = run(home, "process", "aclz_tgz", *words)
        assert done.returncode == 2
        assert said in done.stderr.decode()
    assert "start it first (acceleratorapi start aclz_tgz)" in " ".join(done.stderr.decode().split())
    assert run(home, "start", "aclz_tgz").returncode == 0
    done = run(home, "process", "aclz_tgz", tmp_path / "in", tmp_path / "out", "-p", "startOfTx=1")
    assert done.returncode == 0
    assert "gave nothing for" in done.stderr.decode()
    done = run(home, "process", "aclz_tgz", tmp_path / "in", "-p", "endOfTx=1", "-p", "name=b")
    assert done.returncode == 2
    assert "no OUT was named" in done.stderr.decode()
    assert run(home, "stop", "aclz_tgz").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "in"]


def test_a_function_without_input_writes_its_output(home: Path, tmp_path: Path) -> None:
    done = run(home, "process", "secureic_trng", tmp_path / "random.bin", "-p", "nbBytes=1000")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "random.bin").stat().st_size == 1000


def test_urls(home: Path, tmp_path: Path, web: WebServer) -> None:  # noqa: F811
    """Opened by the command; by the node when it says so, which refuses this private server."""
    url = web.page("/in", b"abc" * 1000) + "?signature=canary-1f"
    done = run(home, "process", "cast_gzip", url, f"file://{tmp_path}/out.gz", "--json")
    assert done.returncode == 0, done.stderr
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == b"abc" * 1000
    refused = run(home, "process", "cast_gzip", url, tmp_path / "refused.gz", "--node-opens-urls")
    assert refused.returncode != 0
    assert b"port 443 only" in refused.stderr
    assert not (tmp_path / "refused.gz").exists()
    assert b"canary" not in done.stdout + done.stderr + refused.stdout + refused.stderr
    assert len(web.requests) == 1


def test_standard_input_and_output(home: Path) -> None:
    done = run(home, "process", "cast_gzip", "-", "-", stdin=b"through a pipe")
    assert done.returncode == 0, done.stderr
    assert gzip.decompress(done.stdout) == b"through a pipe"


def test_a_named_accelerator_is_kept_between_calls(home: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.csv"
    corpus.write_text("cat,dog\n")
    (tmp_path / "in").write_text("a cat and a category")
    started = run(home, "start", "axonerve_hyperfire", "--name", "pets", "--config-file", corpus, "--json")
    assert started.returncode == 0, started.stderr
    try:
        again = run(home, "start", "axonerve_hyperfire", "--name", "pets", "--config-file", corpus)
        assert again.returncode == 2
        assert b"started already" in again.stderr
        assert len(nodes_of(home)) == 1
        listed = json.loads(run(home, "instances", "--json").stdout)
        assert [entry["status"] for entry in listed] == ["running"]
        for _ in range(2):
            done = run(home, "process", "pets", tmp_path / "in", tmp_path / "out")
            assert done.returncode == 0, done.stderr
            assert (tmp_path / "out").read_text() == "a dog and a category"
    finally:
        stopped = run(home, "stop", "pets", "--json")
    assert stopped.returncode == 0, stopped.stderr
    assert nodes_of(home) == []
    assert json.loads(run(home, "instances", "--json").stdout) == []
    unknown = run(home, "stop", "pets")
    assert unknown.returncode == 2


def test_of_two_that_start_by_one_name_one_wins_and_nothing_is_lost(home: Path) -> None:
    names = ["same", "same", "other"]
    starts = [
        subprocess.Popen([*CLI, "start", "cast_gzip", "--name", name], stderr=subprocess.PIPE, env=environment(home))
        for name in names
    ]
    errors = [start.communicate()[1] for start in starts]
    codes = [start.returncode for start in starts]
    try:
        assert sorted(codes[:2]) == [0, 2]
        assert codes[2] == 0, errors[2]
        assert b"started already" in errors[codes.index(2)]
        assert len(nodes_of(home)) == 2
    finally:
        stopped = [run(home, "stop", name).returncode for name in ("same", "other")]
    assert stopped == [0, 0]
    assert nodes_of(home) == []


def test_a_name_works_from_another_folder(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "my.conf").write_text("[general]\nstate_dir = state\n")
    started = subprocess.run(
        [*CLI, "start", "cast_gzip", "--conf", "my.conf"], cwd=folder, capture_output=True, env=environment(home)
    )
    assert started.returncode == 0, started.stderr
    (folder / "my.conf").write_text(f"[general]\nstate_dir = {folder / 'state'}\n")
    try:
        assert run(home, "process", "cast_gzip", "-", tmp_path / "out", stdin=b"abc").returncode == 0
    finally:
        stopped = run(home, "stop", "cast_gzip")
    assert stopped.returncode == 0, stopped.stderr
    assert (tmp_path / "out").stat().st_size


@pytest.mark.parametrize("content", ["{", "[]", '{"x": {"name": "x"}}'])
def test_a_damaged_list_of_names_is_one_clear_line(home: Path, content: str) -> None:
    folder = home / ".local" / "state" / "acceleratorapi"
    folder.mkdir(parents=True)
    (folder / "accelerators.json").write_text(content)
    done = run(home, "stop", "x")
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert "accelerators.json' is damaged: delete it" in line


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("process cast_gzip in out 2>&-", 0),
        ("process cast_gzip in out --json >&-", 0),
        ("process cast_gzip in out <&-", 0),
        ("process cast_gzip missing out 2>&-", 2),
        ("process cast_gzip - out <&-", 2),
        ("process cast_gzip in - >&-", 2),
        ("process cast_gzip in - >/dev/full", 2),
    ],
)
def test_closed_and_full_streams(home: Path, tmp_path: Path, command: str, code: int) -> None:
    (tmp_path / "in").write_bytes(b"abc")
    line = f"{sys.executable} -m acceleratorAPI {command}"
    settings = {name: value for name, value in environment(home).items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(line, shell=True, capture_output=True, cwd=tmp_path, env=settings)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "out").exists() == (code == 0)
    assert nodes_of(home) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["process", "cast_gzpi", "in", "out"], 2, "cast_gzip"),
        (["process", "cast_gzip", "missing", "out"], 2, "missing"),
        (["process", "cast_gzip", "in", "nowhere/out"], 2, "nowhere"),
        (["process", "cast_gzip", "in", "out", "-p", "level=99"], 2, "level"),
        (["process", "cast_gzip", "in", "out", "-p", "level"], 2, "KEY=VALUE"),
        (["process", "cast_gzip", "in", "out", "-p", "src=x"], 2, "'src' is an argument"),
        (["process", "axonerve_hyperfire", "in", "out"], 2, "datafile"),
        (["process", "cast_gzip", "in", "out", "--provider", "MARS"], 2, "LOCAL"),
        (["process", "cast_gzip", "in", "out", "--instance-ip", "127.0.0.1:9"], 3, "127.0.0.1:9"),
        (["functions", "cast_gzpi"], 2, "cast_gzip"),
        (["functions", "new", "Bad-Name"], 2, "Bad-Name"),
        (["functions", "new", "cast_gzip"], 2, "installed"),
        (["functions", "new", "fine", "--into", "absent"], 2, "absent"),
        (["config", "show", "--conf", "absent.conf"], 2, "absent.conf"),
    ],
)
def test_bad_input_is_one_clear_line(home: Path, tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    (tmp_path / "in").write_bytes(b"x")
    (tmp_path / "out").write_bytes(b"what the user had")
    done = subprocess.run([*CLI, *arguments, "--json"], capture_output=True, env=environment(home), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert json.loads(done.stdout)["error"]["message"] in line
    assert (tmp_path / "out").read_bytes() == b"what the user had"
    assert nodes_of(home) == []


def test_functions_and_config(home: Path) -> None:
    names = [entry["name"] for entry in json.loads(run(home, "functions", "--json").stdout)]
    assert {"axonerve_hyperfire", "cast_gzip"} <= set(names)
    for words in (["cast_gzip"], ["show", "cast_gzip"]):
        assert b"level" in run(home, "functions", *words).stdout
        assert json.loads(run(home, "functions", *words, "--json").stdout)["name"] == "cast_gzip"
    shown = json.loads(run(home, "config", "show", "--json").stdout)
    assert {"section": "csp", "key": "provider", "value": "LOCAL", "origin": "default"} in shown
    assert b"[csp]" in run(home, "config", "example").stdout


def test_the_example_configuration_is_valid(home: Path, tmp_path: Path) -> None:
    example = tmp_path / "accelerator.conf"
    example.write_bytes(run(home, "config", "example").stdout)
    assert run(home, "config", "show", "--conf", example).returncode == 0


@pytest.mark.parametrize(
    "command",
    ["", "process", "start", "stop", "functions", "functions show", "functions new", "instances", "config"],
)
def test_help_has_examples(home: Path, command: str) -> None:
    done = run(home, *command.split(), "--help")
    assert done.returncode == 0
    if command not in ("", "config"):
        assert b"Examples" in done.stdout


def help_texts(command: click.Command, path: str = "") -> Iterator[tuple[str, str]]:
    """All that ``--help`` prints of a command, its parameters and its own commands."""
    for text in (command.help, command.short_help, command.epilog):
        yield path, text or ""
    for parameter in command.params:
        yield f"{path} {parameter.name}", getattr(parameter, "help", None) or ""
    for name, inner in getattr(command, "commands", {}).items():
        yield from help_texts(inner, f"{path} {name}")


def test_no_help_text_is_taken_for_markup() -> None:
    texts = list(help_texts(typer.main.get_command(app)))
    assert len(texts) > 100
    eaten = [(place, text) for place, text in texts if Text.from_markup(text).plain != text.replace("\\[", "[")]
    assert eaten == []


def test_quiet_leaves_only_errors_and_asked_answers(home: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"a")
    done = run(home, "process", "cast_gzip", tmp_path / "in", tmp_path / "out", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    asked = run(home, "process", "silex_sha3", tmp_path / "in", "-q")
    assert b"\ndigest  " in asked.stdout
    assert asked.stderr == b""
    failed = run(home, "process", "cast_gzip", tmp_path / "none", tmp_path / "out", "-q")
    assert failed.returncode == 2
    assert failed.stderr.startswith(b"error: ")


def test_what_stop_and_start_say_can_be_typed(home: Path, tmp_path: Path) -> None:
    started = run(home, "start", "cast_gzip", "--name", "a b")
    assert b"acceleratorapi process 'a b' IN OUT    end it:  acceleratorapi stop 'a b'" in started.stderr
    (instance,) = json.loads(run(home, "instances", "--json").stdout)
    stopped = run(home, "stop", "a b", "--stop-mode", "STOP")
    assert b"instance_id=" not in stopped.stderr
    again = f"acceleratorapi start cast_gzip --instance-id {instance['id']}\n"
    assert stopped.stderr.decode().endswith(again)
    gone = run(home, "process", "a b", tmp_path, tmp_path / "out")
    assert gone.returncode == 2
    assert b"error: 'a b' is neither a function nor a started accelerator; " in gone.stderr
    assert run(home, *again.split()[1:]).returncode == 0
    by_id = run(home, "stop", instance["id"], "--stop-mode", "STOP")
    assert by_id.stderr.decode().endswith(f"acceleratorapi start FUNCTION --instance-id {instance['id']}\n")
    assert run(home, "stop", instance["id"]).returncode == 0


def test_node_serve_help(home: Path) -> None:
    done = run(home, "node", "serve", "--help")
    assert done.returncode == 0
    assert b"--accelerator" in done.stdout


def test_a_terminal_gets_a_bar(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    with source.open("wb") as file:
        file.truncate(300_000_000)
    ours, theirs = pty.openpty()
    command = [*CLI, "process", "cast_gzip", str(source), str(tmp_path / "out")]
    with subprocess.Popen(command, stderr=theirs, env={**environment(home), "TERM": "xterm"}) as process:
        os.close(theirs)
        screen = b""
        while True:
            try:
                screen += os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
        assert process.wait() == 0
    os.close(ours)
    assert "━".encode() in screen
    assert b"/s" in screen


def test_ctrl_c_leaves_nothing(home: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = [*CLI, "process", "cast_gzip", str(tmp_path / "pipe"), str(tmp_path / "out")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment(home)) as process:
        with (tmp_path / "pipe").open("wb") as pipe:
            pipe.write(b"x" * 1_000_000)
            pipe.flush()
            while not nodes_of(home):
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            said = process.stderr.read()
        assert process.wait(30) == 130, said
    assert said == b"interrupted; nothing was written\n"
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".*partial")) == []
    assert nodes_of(home) == []


def test_answers_are_shown_and_outputs_never_lost(home: Path, tmp_path: Path) -> None:
    source, corpus = tmp_path / "in.txt", tmp_path / "corpus.csv"
    source.write_bytes(b"The cat. the CAT.\n")
    corpus.write_text("cat,dog\n")
    digest = run(home, "process", "silex_sha3", str(source))
    assert f"digest  {hashlib.sha3_256(source.read_bytes()).hexdigest()}\n".encode() in digest.stdout
    refused = run(home, "process", "cast_gzip", str(source))
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert b"gives a file: name OUT" in refused.stderr
    # A parameter of start and one of process, in one go.
    words = run(home, "process", "axonerve_hyperfire", str(source), "-", "--config-file", str(corpus),
                "-p", "ignore_case=true", "-p", "counts=true")  # fmt: skip
    assert words.stdout == b"The dog. the dog.\n"
    assert b"cat  2\n" in words.stderr


def test_a_start_that_fails_leaves_an_instance_it_did_not_make(home: Path) -> None:
    kept = json.loads(run(home, "start", "cast_gzip", "--name", "kept", "--json").stdout)
    program = (
        "from acceleratorAPI.acceleratorAPI import *\n"
        f"a = AcceleratorClass(accelerator='axonerve_hyperfire', instance_id={kept['instance_id']!r})\n"
        "assert not a.start(stop_mode=TERM)[0]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=environment(home))
    (instance,) = json.loads(run(home, "instances", "--json").stdout)
    assert (instance["status"], instance["stop_mode"]) == ("running", "KEEP")
    assert run(home, "stop", "kept").returncode == 0
