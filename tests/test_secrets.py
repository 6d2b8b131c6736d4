"""T26: a whole flow at DEBUG level, with secrets at every place that takes one; afterwards they are nowhere."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

PLUGIN = Path(__file__).parent / "node" / "plugin"
CANARY = "canary77f1"
SERVE = """
import logging, sys
from acceleratorAPI.node import __main__, logs
start = logs.start
def start_at_debug(form):
    start(form)
    handlers = logging.getLogger("acceleratorAPI.node").handlers
    for name in (None, "acceleratorAPI.node", "uvicorn", "asyncio", "opentelemetry"):
        logger = logging.getLogger(name)
        logger.handlers = handlers
        logger.setLevel(logging.DEBUG)
    logging.getLogger("anybody").debug("everything is logged")
logs.start = start_at_debug
sys.exit(__main__.main(sys.argv[1:]))
"""
FLOW = """
import http.client, logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
from acceleratorAPI import Accelerator, AcceleratorError
url, folder = sys.argv[1:]
secret = open(folder + "/canary").read()
with Accelerator("test_words", instance_ip=url) as accelerator:
    accelerator.start(folder + "/words", password=secret + "-configure")
    accelerator.process(folder + "/in", folder + "/out")
    print(accelerator)
with Accelerator("test_fail", instance_ip=url) as failing:
    failing.start()
    for how in ("typed", "untyped", "unserialisable"):
        try:
            failing.process(folder + "/in", folder + "/out2", how=how, token=secret + "-process")
        except AcceleratorError as error:
            print(error)
    try:
        failing.process(folder + "/in", folder + "/out2", how="no such way", token=secret + "-process")
    except AcceleratorError as error:
        print(error)
"""


class ProcessLists:
    """What any user of the machine sees of its processes, taken again and again."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._end.wait(0.05):
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    self.seen.add(" ".join(process.cmdline()))

    def __enter__(self) -> ProcessLists:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """URL and state folder of a node that logs everything it can."""
    state, token = tmp_path / "state", tmp_path / "token"
    token.write_text(f"{CANARY}-node-token\n")
    environment = {**os.environ, "PYTHONPATH": str(PLUGIN), "PYTHONASYNCIODEBUG": "1"}
    options = ["--port", "0", "--slots", "1", "--state", str(state), "--token-file", str(token)]
    with open(tmp_path / "node.log", "wb") as log:
        process = subprocess.Popen([sys.executable, "-c", SERVE, *options], stderr=log, env=environment)
    deadline = time.monotonic() + 60
    while not (state / "node.json").exists():
        assert process.poll() is None, (tmp_path / "node.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield json.loads((state / "node.json").read_text())["url"], state
    process.terminate()
    process.wait(60)


def raw(url: str, path: str, **headers: str) -> str:
    """An answer, whatever it is, with its head."""
    request = urllib.request.Request(url + path, headers={name.replace("_", "-"): v for name, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.headers) + answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return str(error.headers) + error.read().decode(errors="replace")


def test_no_secret_anywhere(node: tuple[str, Path], tmp_path: Path) -> None:
    url, state = node
    (tmp_path / "words").write_text("a,b")
    (tmp_path / "in").write_bytes(b"banana" * 1000)
    environment = {
        **os.environ,
        "PYTHONPATH": str(PLUGIN),
        "ACCELERATOR_NODE_TOKEN": f"{CANARY}-node-token",
        "ACCELERATOR_ACCELIZE_CLIENT_ID": "me",
        "ACCELERATOR_ACCELIZE_SECRET_ID": f"{CANARY}-store",
        "ACCELERATOR_CSP_SECRET_ID": f"{CANARY}-cloud",
    }
    (tmp_path / "canary").write_text(CANARY)
    with ProcessLists() as lists:
        done = subprocess.run(
            [sys.executable, "-c", FLOW, url, str(tmp_path)],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        own = f"Bearer {CANARY}-node-token"
        basic = base64.b64encode(f"x:{CANARY}-wrong".encode()).decode()
        answers = [
            raw(url, f"/v2/functions?token={CANARY}-query", Authorization=f"Bearer {CANARY}-wrong"),
            raw(url, f"/v2/functions?token={CANARY}-query", Authorization=f"Basic {basic}"),
            raw(url, f"/v1.0/process/?page=1&X-Amz-Signature={CANARY}-query", Authorization=own),
            raw(url, f"/v1.0/process/?page={CANARY}-query", Authorization=own),
            raw(url, f"/v1.0/configuration/1/?sig={CANARY}-query", Authorization=own, Cookie=f"session={CANARY}"),
            raw(url, "/v1.0/configuration/", Authorization=own),
            raw(url, "/v1.0/process/", Authorization=own, Range=f"{CANARY}", User_Agent=CANARY),
            raw(url, "/", Authorization=own),
            raw(url, "/openapi.json", Authorization=own),
        ]
        again = subprocess.run(
            [sys.executable, "-m", "acceleratorAPI", "config", "show"],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == b"bbnbnb" * 1000
    assert CANARY not in done.stdout + done.stderr
    # The function was given its password.
    assert '"secured"' in answers[5]
    for answer in answers:
        assert CANARY not in answer
    assert not [line for line in lists.seen if CANARY in line]
    log = (tmp_path / "node.log").read_text()
    assert "configuration 1: test_words ready" in log
    assert "everything is logged" in log
    assert CANARY not in log
    # What `config show` masks keeps its first letters.
    assert f"{CANARY}-" not in again.stdout + again.stderr
    kept = [path for path in state.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert not kept
