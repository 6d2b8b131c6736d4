"""The historical face: every keyword of the guide, answers of its shape, never a traceback."""

from __future__ import annotations

import gzip
import inspect
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from instances import list_instances

import acceleratorAPI.acceleratorAPI as historical  # noqa: N813 - its historical name
from acceleratorAPI.acceleratorAPI import KEEP, STOP, TERM, AcceleratorClass

DATA = b"the quick brown fox\n" * 1000


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").write_bytes(DATA)
    return tmp_path


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("module")
    path = folder / "shared.conf"
    path.write_text(f"[general]\nstate_dir = {folder / 'state'}\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def shared(conf: Path) -> Iterator[AcceleratorClass]:
    """A started ``cast_gzip`` for all tests that only process."""
    accelerator = AcceleratorClass("cast_gzip", config_file=conf)
    assert accelerator.start()[0]
    yield accelerator
    assert accelerator.stop()[0]


def failed(answer: tuple[bool, dict[str, Any]], *words: str) -> None:
    succeeded, content = answer
    assert succeeded is False
    assert list(content) == ["app"]
    assert content["app"]["status"] == -1
    assert "\n" not in content["app"]["msg"]
    for word in words:
        assert word in content["app"]["msg"]


def test_the_star_import_gives_exactly_four_names() -> None:
    assert historical.__all__ == ["AcceleratorClass", "KEEP", "STOP", "TERM"]
    names: dict[str, Any] = {}
    exec("from acceleratorAPI.acceleratorAPI import *", names)
    del names["__builtins__"]
    assert sorted(names) == historical.__all__


def test_modes_are_the_numbers_they_were() -> None:
    assert (TERM, STOP, KEEP) == (0, 1, 2)


def test_signatures_are_the_guides() -> None:
    def parameters(call: Any) -> list[str]:
        return list(inspect.signature(call).parameters)

    assert parameters(AcceleratorClass) == [
        "accelerator",
        "config_file",
        "provider",
        "region",
        "xlz_client_id",
        "xlz_secret_id",
        "csp_client_id",
        "csp_secret_id",
        "ssh_key",
        "instance_id",
        "instance_ip",
    ]
    assert parameters(AcceleratorClass.start)[1:] == ["stop_mode", "datafile", "accelerator_parameters"]
    assert parameters(AcceleratorClass.process)[1:4] == ["file_out", "file_in", "process_parameter"]
    assert "accelerator_parameters" in parameters(AcceleratorClass.process)
    assert parameters(AcceleratorClass.stop)[1:] == ["stop_mode"]


def test_programming_mistakes_are_type_errors(shared: AcceleratorClass) -> None:
    with pytest.raises(TypeError):
        AcceleratorClass()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        AcceleratorClass("cast_gzip", regoin="x")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        shared.start(data_file="x")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        shared.process(file_int="x")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="not both"):
        shared.process("out", "in", "{}", accelerator_parameters="{}")


@pytest.mark.parametrize("given", ['{"level": 3}', {"level": 3}, {"app": {"specific": {"level": 3}}}, "", None])
@pytest.mark.parametrize("keyword", ["accelerator_parameters", "process_parameter"])
def test_process_parameters(given: Any, keyword: str, shared: AcceleratorClass, here: Path) -> None:
    succeeded, answer = shared.process(file_in="in", file_out="out", **{keyword: given})
    assert succeeded, answer
    assert gzip.decompress((here / "out").read_bytes()) == DATA


def test_the_old_order_of_positions(shared: AcceleratorClass, here: Path) -> None:
    succeeded, answer = shared.process("out", "in", '{"level": 2}')
    assert succeeded, answer
    assert gzip.decompress((here / "out").read_bytes()) == DATA


def test_profiling_is_consistent(shared: AcceleratorClass, here: Path) -> None:
    _, answer = shared.process(file_in="in", file_out="out")
    profiling = answer["app"]["result-profiling"]
    moved = len(DATA) + (here / "out").stat().st_size
    assert profiling["R+W bandwidth (in MB/s)"] * profiling["kernel-time"] * 1e6 == pytest.approx(moved)
    assert profiling["Total bytes transferred"] == f"{moved / 1000:.1f} kB"
    assert json.loads(json.dumps(answer)) == answer


def test_legacy_profiling_fills_the_old_names_and_says_so(here: Path) -> None:
    Path("accelerator.conf").write_text("[general]\nlegacy_profiling = yes\n")
    accelerator = AcceleratorClass("cast_gzip")
    assert accelerator.start()[0]
    _, answer = accelerator.process(file_in="in", file_out="out")
    profiling = answer["app"]["result-profiling"]
    assert profiling["FPGA execution time"] == profiling["kernel-time"]
    assert profiling["FPGA R+W bandwidth (in MB/s)"] == profiling["R+W bandwidth (in MB/s)"]
    assert profiling["hw_statistics"] == "no FPGA: CPU kernel"
    assert accelerator.stop()[0]


@pytest.mark.parametrize("mode", [1, "1", "STOP", "stop", STOP])
def test_stop_modes_in_every_spelling(mode: Any, here: Path) -> None:
    accelerator = AcceleratorClass(accelerator="cast_gzip")
    assert accelerator.start(stop_mode=mode)[0]
    succeeded, answer = accelerator.stop()
    assert succeeded
    (instance,) = list_instances()
    assert instance.status == "stopped"
    assert f"use it again with instance_id={instance.id!r}" in answer["app"]["specific"]["my_message"]
    again = AcceleratorClass("cast_gzip", instance_id=instance.id)
    assert again.start()[0]
    assert again.stop(stop_mode="0")[0]
    assert list_instances() == []


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "missing file": ({"file_in": "none", "file_out": "out"}, "none"),
    "folder": ({"file_in": ".", "file_out": "out"}, "folder"),
    "no output folder": ({"file_in": "in", "file_out": "none/out"}, "does not exist"),
    "no file may be made": ({"file_in": "in", "file_out": "/proc/out"}, "/proc/out"),
    "same file": ({"file_in": "in", "file_out": "in"}, "same file"),
    "no file_out": ({"file_in": "in"}, "file_out is required"),
    "no file_in": ({"file_out": "out"}, "needs an input file"),
    "bad JSON": ({"file_in": "in", "file_out": "out", "accelerator_parameters": "{level: 1}"}, "is not JSON"),
    "no object": ({"file_in": "in", "file_out": "out", "process_parameter": "[1]"}, "process_parameter must be a JSON"),
    "unknown parameter": ({"file_in": "in", "file_out": "out", "accelerator_parameters": {"levle": 1}}, "'level'"),
    "argument": (
        {"file_in": "in", "file_out": "out", "accelerator_parameters": '{"src": "x"}'},
        "'src' is an argument",
    ),
    "bad parameter": ({"file_in": "in", "file_out": "out", "accelerator_parameters": {"level": 99}}, "level"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_bad_input_is_one_clear_line(mistake: str, shared: AcceleratorClass, here: Path) -> None:
    (here / "out").write_bytes(b"what the user had")
    arguments, words = MISTAKES[mistake]
    failed(shared.process(**arguments), words)
    assert (here / "out").read_bytes() == b"what the user had"
    assert (here / "in").read_bytes() == DATA
    assert sorted(entry.name for entry in here.iterdir()) == ["in", "out"]


def test_an_output_without_a_place_is_an_error(here: Path) -> None:
    accelerator = AcceleratorClass("aclz_tgz")
    assert accelerator.start()[0]
    succeeded, answer = accelerator.process(file_in="in")
    assert not succeeded
    assert "no file_out was named" in answer["app"]["msg"]
    assert accelerator.process(file_in="in", accelerator_parameters={"startOfTx": 1})[0]
    assert accelerator.stop()[0]


def test_process_before_start(here: Path) -> None:
    failed(AcceleratorClass("cast_gzip").process(file_in="in", file_out="out"), "before start")


@pytest.mark.parametrize("name", ["datafile", "stop_mode"])
def test_a_parameter_named_like_an_argument_is_an_answer(name: str, here: Path) -> None:
    failed(AcceleratorClass("cast_gzip").start(accelerator_parameters={name: 1}), name, "accelerator_parameters")


def test_stop_before_start_does_nothing() -> None:
    succeeded, answer = AcceleratorClass("cast_gzip").stop()
    assert succeeded
    assert "nothing done" in answer["app"]["specific"]["my_message"]


STARTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "unknown function": ({"accelerator": "cast_gzpi"}, {}, "cast_gzip"),
    "unknown provider": ({"accelerator": "cast_gzip", "provider": "OVH"}, {}, "LOCAL"),
    "missing file": ({"accelerator": "cast_gzip", "config_file": "none.conf"}, {}, "none.conf"),
    "unknown instance": ({"accelerator": "cast_gzip", "instance_id": "local-0"}, {}, "local-0"),
    "nothing there": ({"accelerator": "cast_gzip", "instance_ip": "127.0.0.1:1"}, {}, "127.0.0.1:1"),
    "bad mode": ({"accelerator": "cast_gzip"}, {"stop_mode": 3}, "TERM (0), STOP (1) or KEEP (2)"),
    "bad JSON": ({"accelerator": "cast_gzip"}, {"accelerator_parameters": "{"}, "accelerator_parameters is not JSON"),
    "no datafile": ({"accelerator": "axonerve_hyperfire"}, {}, "needs a datafile"),
    "missing datafile": ({"accelerator": "axonerve_hyperfire"}, {"datafile": "none.csv"}, "none.csv"),
    "bad datafile": ({"accelerator": "axonerve_hyperfire"}, {"datafile": "bad.csv"}, "2"),
}


@pytest.mark.parametrize("case", STARTS)
def test_a_start_that_fails_is_one_clear_line_and_leaves_nothing(case: str, here: Path) -> None:
    (here / "bad.csv").write_bytes(b"cat,dog\ncat,cow\n")
    constructor, arguments, words = STARTS[case]
    accelerator = AcceleratorClass(**constructor)
    failed(accelerator.start(**arguments), words)
    failed(accelerator.process(file_in="in", file_out="out"))
    assert list_instances() == []


def test_a_wrong_file_is_answered_by_every_call(here: Path) -> None:
    Path("accelerator.conf").write_text("[csp]\nregoin = x\n")
    accelerator = AcceleratorClass("cast_gzip")
    for answer in (accelerator.start(), accelerator.process("out", "in"), accelerator.stop()):
        failed(answer, "accelerator.conf line 2", "did you mean 'region'?")


def test_ctrl_c_passes_through(shared: AcceleratorClass, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    assert shared._accelerator is not None
    monkeypatch.setattr(shared._accelerator, "process", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shared.process(file_in="in", file_out="out")


def test_a_secret_is_in_no_answer(here: Path) -> None:
    secret = "s3cr3t-of-the-store"
    accelerator = AcceleratorClass("cast_gzip", xlz_client_id="me", xlz_secret_id=secret, csp_secret_id=secret)
    answers = [accelerator.start(), accelerator.process(file_in="in", file_out="out"), accelerator.stop()]
    assert all(succeeded for succeeded, _ in answers)
    shown = io.StringIO()
    print(answers, vars(accelerator), accelerator._accelerator.settings, file=shown)  # type: ignore[union-attr]
    assert secret not in shown.getvalue()
