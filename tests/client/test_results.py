"""Results as a person and a program read them, and documentation that names every parameter."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from acceleratorAPI import Accelerator, ProcessResult, StartResult, StopMode, StopResult
from acceleratorAPI.acceleratorAPI import AcceleratorClass
from acceleratorAPI.client.results import size_text

DOCS = Path(__file__).parents[2] / "docs"

START = StartResult("f", "local-1", "http://h", "http://h/v1.0/configuration/1/", False, {"warning": "w"}, "ok", 1.5)
PROCESS = ProcessResult("f", "in", "out", 3_000_000, 1_000_000, "cpu", 0.5, 0.75, {"n": 1}, {}, "ok", b"secret bytes")
STOP = StopResult(StopMode.KEEP, None, {}, "http://h is kept")


def test_results_are_one_readable_line() -> None:
    assert str(START) == "f ready on local-1 at http://h in 1.50 s (warning: w)"
    assert str(PROCESS) == "f: 3.0 MB -> 1.0 MB to out in 0.75 s, cpu 8 MB/s"
    assert str(STOP) == "http://h is kept"
    assert "secret bytes" not in repr(PROCESS)


@pytest.mark.parametrize("result", [START, PROCESS, STOP])
def test_results_are_json(result: StartResult | ProcessResult | StopResult) -> None:
    values = result.as_dict()
    assert json.loads(json.dumps(values)) == values
    assert "data" not in values


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (6_600_000, "6.6 MB"),
        (5 << 30, "5.4 GB"),
        (2 * 10**15, "2000.0 TB"),
    ],
)
def test_sizes(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(("page", "kind"), [("python-api.md", Accelerator), ("historical-api.md", AcceleratorClass)])
def test_the_documentation_names_every_parameter(page: str, kind: type) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    verbs = [kind, *(call for name, call in vars(kind).items() if callable(call) and not name.startswith("_"))]
    for verb in verbs:
        for name in inspect.signature(verb).parameters:
            assert name in ("self", "parameters") or name in text, f"{page} does not name {name} of {verb}"
