"""Folders as inputs, jobs that give no file, and the scratch folder of a configuration, on real nodes."""

from __future__ import annotations

import io
import json
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def keeper(node: Any) -> Any:
    return node.configure("test_keep")


@pytest.fixture
def folder(shared_folder: Path, tmp_path: Path) -> Path:
    """A small folder that the shared node may read."""
    made = shared_folder / tmp_path.name / "some folder"
    (made / "b" / "empty").mkdir(parents=True)
    (made / "a.txt").write_bytes(b"a" * 700)
    (made / "b" / "c").write_bytes(b"")
    return made


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return opened.getnames()


def job(node: Any, configuration: Any, fields: dict[str, str], file: bytes | None = None, **parameters: Any) -> Any:
    parameters_text = json.dumps({"app": {"specific": parameters}})
    fields = {"configuration": configuration["url"], "parameters": parameters_text, **fields}
    return node.post("/v1.0/process/", fields, file)


def output(node: Any, record: Any) -> bytes:
    return node.get(record["datafileresult"]).body


ALL = ["some folder", "some folder/a.txt", "some folder/b", "some folder/b/c", "some folder/b/empty"]


def test_a_folder_in_place_is_packed_by_the_worker(node: Any, keeper: Any, folder: Path) -> None:
    record = node.ended(job(node, keeper, {"source": str(folder)}).json)
    assert names(output(node, record)) == ALL
    specific = record["parametersresult"]["app"]["specific"]
    assert specific["kept"][-1] == "folder,None,False"
    assert "warning" not in specific
    assert record["datafile"] == str(folder)
    assert record["progress"]["bytes_total"] is None


def test_what_is_left_out_of_a_folder_is_a_warning(
    node: Any, keeper: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)  # a socket's path has a limit
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    record = node.ended(job(node, keeper, {"source": str(folder)}).json)
    assert names(output(node, record)) == ALL
    said = record["parametersresult"]["app"]["specific"]["warning"]
    assert said == "1 ('some folder/socket' first): left out, no archive can hold a socket"


@pytest.mark.parametrize("normal", [False, True])
def test_a_folder_that_is_sent_comes_through_as_the_same_stream(
    node: Any, keeper: Any, folder: Path, normal: bool
) -> None:
    in_place = output(node, node.ended(job(node, keeper, {"source": str(folder)}, normal=normal).json))
    packed = output(node, node.ended(job(node, keeper, {"source": str(folder)}).json))
    sent = node.ended(job(node, keeper, {"folder": "1"}, packed + b"whatever follows", normal=normal).json)
    assert output(node, sent) == in_place
    assert sent["progress"]["bytes_total"] == len(packed) + 16
    with tarfile.open(fileobj=io.BytesIO(in_place)) as opened:
        assert (opened.getmember("some folder/a.txt").mtime == 0) is normal


def test_what_is_sent_as_a_folder_must_be_a_tar_file(node: Any, keeper: Any, folder: Path) -> None:
    packed = output(node, node.ended(job(node, keeper, {"source": str(folder)}).json))
    for body, said in ((b"x" * 2000, "byte 0: this is no tar header"), (packed[:1000], "breaks off"), (b"", "empty")):
        record = node.ended(job(node, keeper, {"folder": "1"}, body).json)
        assert record["errorcode"] == "corrupt-input"
        assert said in record["parametersresult"]["app"]["msg"]


def test_wrong_requests_with_folders(node: Any, copier: Any, keeper: Any, folder: Path, shared_folder: Path) -> None:
    plain = shared_folder / "no folder"
    plain.write_bytes(b"x")
    for configuration, fields, file, said in (
        (copier, {"source": str(folder)}, None, "it is a folder"),
        (copier, {"folder": "1"}, b"x", "takes no folder"),
        (keeper, {"folder": "1", "source": __file__}, None, "may not touch files there"),
        (keeper, {"folder": "1", "source": str(plain)}, None, "send the folder as a tar file"),
        (keeper, {"folder": "yes"}, b"x", "use 0 or 1"),
        (keeper, {"folder": ""}, b"x", "use 0 or 1"),
        (keeper, {"source": str(folder), "target": str(folder / "b" / "out")}, None, "lies in the folder that is read"),
    ):
        answer = job(node, configuration, fields, file)
        assert answer.status in (400, 403), fields
        assert said in answer.json["detail"]
    assert job(node, copier, {"folder": "0"}, b"x").status == 200


def test_a_job_may_give_no_file(node: Any, keeper: Any, shared_folder: Path) -> None:
    record = node.ended(job(node, keeper, {}, b"12345", give=False).json)
    assert record["datafileresult"] is None
    assert record["progress"]["bytes_out"] == 0
    assert not record["inerror"]
    assert node.get(f"{record['url']}datafileresult").status == 404
    target = shared_folder / "kept as it was"
    target.write_bytes(b"before")
    record = node.ended(job(node, keeper, {"target": str(target)}, b"12345", give=False).json)
    assert target.read_bytes() == b"before"
    assert sorted(path.name for path in shared_folder.glob(".*partial")) == []
    node.ended(job(node, keeper, {"target": str(target)}, b"12345").json)
    assert target.read_bytes() == b"12345"


def test_the_name_and_the_file_behind_an_input(node: Any, keeper: Any, shared_folder: Path) -> None:
    place = shared_folder / "in place.dat"
    place.write_bytes(b"123")
    record = node.ended(job(node, keeper, {"source": str(place)}).json)
    assert record["parametersresult"]["app"]["specific"]["kept"][-1] == "place.dat,3,True"
    record = node.ended(job(node, keeper, {}, b"1234").json)
    assert record["parametersresult"]["app"]["specific"]["kept"][-1] == "in.dat,4,False"


def test_scratch_outlives_a_crash_a_worker_and_the_node_but_not_stop(nodes: Any) -> None:
    node = nodes("--slots", "2")
    first, second = node.configure("test_keep"), node.configure("test_keep")

    def kept(configuration: Any, **parameters: Any) -> Any:
        return node.ended(node.send(configuration, b"x", **parameters))

    scratch = node.state / "scratch"
    crashed = kept(first, crash=True)
    assert crashed["errorcode"] == "worker-crashed"
    answers = [kept(first)["parametersresult"]["app"]["specific"]["kept"] for _ in range(3)]
    assert [len(answer) for answer in answers] == [2, 3, 4]
    assert len(kept(second)["parametersresult"]["app"]["specific"]["kept"]) == 1
    assert sorted(path.name for path in scratch.iterdir()) == [first["id"], second["id"]]
    assert scratch.stat().st_mode & 0o777 == 0o700
    node.end()
    (scratch / "999").mkdir()
    node = nodes(state=node.state)
    assert sorted(path.name for path in scratch.iterdir()) == [first["id"], second["id"]]
    again = node.ended(node.send({"url": first["id"]}, b"x"))
    assert len(again["parametersresult"]["app"]["specific"]["kept"]) == 5
    assert node.get("/v1.0/stop").status == 200
    assert list(scratch.iterdir()) == []
