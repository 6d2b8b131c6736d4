from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def curl(node: Any, *arguments: str) -> Any:
    done = subprocess.run(
        ["curl", "-sS", "-u", f"x:{node.token}", *arguments], check=True, capture_output=True, timeout=60
    )
    return json.loads(done.stdout)


def test_the_main_job_by_curl(node: Any, tmp_path: Path) -> None:
    corpus, text, result = tmp_path / "corpus.csv", tmp_path / "in.txt", tmp_path / "out.txt"
    corpus.write_text("a,b\n")
    text.write_bytes(b"banana\r\n--" * 30_000)
    parameters = '{"env": {"accelerator": "test_words"}}'
    configuration = curl(
        node, "-F", f"parameters={parameters}", "-F", f"datafile=@{corpus}", f"{node.url}/v1.0/configuration/"
    )
    assert configuration["inerror"] is False
    assert configuration["processed"] is True
    assert configuration["datafile"] == "corpus.csv"
    app = configuration["parametersresult"]["app"]
    assert app["status"] == 0
    assert app["msg"] == "WARN: no password\nRESULT: ==> SUCCESS <==\n"
    assert app["specific"]["Metering"] == "NOT ACTIVATED: no store is configured"
    assert app["specific"]["details"]["elapsedTime"] >= 0
    job = curl(
        node, "-F", f"configuration={configuration['url']}", "-F", f"datafile=@{text}", f"{node.url}/v1.0/process"
    )
    assert job["processed"] is False
    assert job["inerror"] is False
    record = curl(node, f"{node.url}/v1.0/process/{job['id']}?wait=30")
    assert record["processed"] is True
    subprocess.run(["curl", "-sS", "-u", f"x:{node.token}", "-o", result, record["datafileresult"]], check=True)
    assert result.read_bytes() == text.read_bytes().replace(b"a", b"b")
    assert node.request("DELETE", f"/v1.0/process/{job['id']}/").status == 204
    assert node.request("DELETE", f"/v1.0/process/{job['id']}").status == 404
    assert node.get(f"/v1.0/process/{job['id']}").status == 404


def test_profiling_is_the_kernels(node: Any, copier: Any) -> None:
    job = node.ended(node.send(copier, b"x" * 1_000_000))
    profiling = job["parametersresult"]["app"]["profiling"]
    assert profiling["backend"] == "cpu"
    assert profiling["total-bytes-written"] == profiling["total-bytes-read"] == 1_000_000
    assert profiling["R+W bandwidth (in MB/s)"] * profiling["kernel-time"] * 1e6 == pytest.approx(2_000_000)
    assert profiling["wall-clock-time"] >= profiling["kernel-time"]
    assert profiling["Total bytes transferred"] == "2.0 MB"
    assert not [name for name in profiling if "fpga" in name.lower()]
    assert job["progress"] == {
        "state": "succeeded", "bytes_in": 1_000_000, "bytes_total": 1_000_000, "bytes_out": 1_000_000,
        "bytes_expected": None, "bytes_fetched": None, "bytes_delivered": None,
    }  # fmt: skip


def test_parametersresult_is_a_python_literal(node: Any, copier: Any) -> None:
    for record in (copier, node.ended(node.send(copier, b"1"))):
        text = str(record["parametersresult"])
        assert ast.literal_eval(text) == record["parametersresult"]
        assert "None" not in text


@pytest.mark.parametrize("slash", ["", "/"])
def test_both_slash_forms_answer_directly(node: Any, copier: Any, slash: str) -> None:
    job = node.ended(node.send(copier, b"1"))
    for path in ("configuration", "process", "schema", f"configuration/{copier['id']}", f"process/{job['id']}"):
        assert node.get(f"/v1.0/{path}{slash}").status == 200, path
    assert node.get(f"/v1.0/process/{job['id']}/datafileresult{slash}").body == b"1"
    assert node.post(f"/v1.0/configuration{slash}").status == 200
    assert node.post(f"/v1.0/process{slash}", {"configuration": copier["url"]}, b"x").status == 200


def test_the_id_is_decimal_text_and_urls_are_absolute(node: Any, copier: Any) -> None:
    job = node.send(copier, b"1")
    for record, kind in ((copier, "configuration"), (job, "process")):
        assert record["id"].isdecimal()
        assert record["url"] == f"{node.url}/v1.0/{kind}/{record['id']}/"
    assert job["configuration"] == copier["url"]


@pytest.mark.parametrize(
    "reference", ["{url}", "/v1.0/configuration/{id}/", "/v1.0/configuration/{id}", "{id}", " {id} "]
)
def test_a_configuration_is_named_by_url_path_or_id(node: Any, copier: Any, reference: str) -> None:
    fields = {"configuration": reference.format(**copier)}
    answer = node.post("/v1.0/process/", fields, b"1")
    assert answer.json["configuration"] == copier["url"]


@pytest.mark.parametrize("reference", ["none", "-1", "http://other/v1.0/process/1/", "1/2", "999999999", "9" * 30])
def test_a_wrong_configuration_is_refused(node: Any, copier: Any, reference: str) -> None:
    answer = node.post("/v1.0/process/", {"configuration": reference}, b"1")
    assert answer.status == 400
    assert "configuration = " in answer.json["detail"]


def test_without_a_configuration_the_active_one_is_used(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1")
    answer = node.post("/v1.0/process/", {}, b"1")
    assert answer.status == 409
    assert "start first" in answer.json["detail"]
    first, second = node.configure("test_copy"), node.configure("test_count")
    assert [r["used"] for r in node.get("/v1.0/configuration/").json["results"]] == [True, False]
    assert node.post("/v1.0/process/", {}, b"1").json["configuration"] == second["url"]
    assert node.ended(node.send(first, b"old ones work"))["inerror"] is False


def test_lists_are_paged_newest_first(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1", "--accelerator", "test_count")
    assert node.get("/v1.0/process/").json == {"count": 0, "next": "", "previous": "", "results": []}
    configuration = node.configure("test_count")
    jobs = [node.send(configuration, b"1")["id"] for _ in range(21)]
    pages = [node.get("/v1.0/process/").json]
    while pages[-1]["next"]:
        assert pages[-1]["next"].startswith(node.url)
        pages.append(node.get(pages[-1]["next"].removeprefix(node.url)).json)
    assert [len(page["results"]) for page in pages] == [10, 10, 1]
    assert [record["id"] for page in pages for record in page["results"]] == jobs[::-1]
    assert pages[2]["previous"].endswith("/v1.0/process/?page=2")
    assert {page["count"] for page in pages} == {21}
    for page in ("4", "0", "-1", "x", "99999999999999999999"):
        answer = node.get(f"/v1.0/process/?page={page}")
        assert answer.status == (404 if page == "4" else 400)
        assert answer.json["inerror"] is True


def test_stop(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1")
    configuration = node.configure("test_words", b"a,b")
    done = node.ended(node.send(configuration, b"a"))
    slow = node.configure("test_slow")
    running, waiting = node.send(slow, b"abc"), node.send(slow, b"abc")
    node.until(running, lambda r: r["progress"]["state"] == "running")
    for path in ("/v1.0/stop", "/v1.0/stop/"):
        answer = node.get(path)
        assert answer.status == 200
        assert answer.json["inerror"] is False
        assert answer.json["app"]["status"] == 0
        assert answer.json["app"]["msg"] == "==> SUCCESS <==\n"
        assert answer.json["app"]["specific"]
    for job in (running, waiting):
        record = node.ended(job)
        assert record["errorcode"] == "cancelled"
        assert "stopped" in record["parametersresult"]["app"]["msg"]
    assert {r["used"] for r in node.get("/v1.0/configuration/").json["results"]} == {False}
    answer = node.post("/v1.0/process/", {"configuration": configuration["url"]}, b"a")
    assert answer.status == 409
    assert "start again" in answer.json["detail"]
    assert node.get(f"/v1.0/process/{done['id']}/datafileresult").body == b"b"
    assert len(node.spool()) == 1
    again = node.configure("test_words", b"a,c")
    assert node.get(node.ended(node.send(again, b"a"))["datafileresult"]).body == b"c"


def test_functions_without_input_or_output(node: Any) -> None:
    counter, maker = node.configure("test_count"), node.configure("test_bytes")
    counted = node.ended(node.send(counter, b"12345"))
    assert counted["datafileresult"] is None
    assert counted["parametersresult"]["app"]["specific"]["count"] == 5
    assert node.get(f"/v1.0/process/{counted['id']}/datafileresult").status == 404
    made = node.ended(node.send(maker, None, count=7))
    assert node.get(made["datafileresult"]).body == b"x" * 7
    assert made["progress"]["bytes_total"] is None
    answer = node.post("/v1.0/process/", {"configuration": maker["url"]}, b"unwanted")
    assert (answer.status, answer.json["detail"]) == (400, "test_bytes: POST process takes no datafile")
    answer = node.post("/v1.0/process/", {"configuration": counter["url"]})
    assert (answer.status, answer.json["detail"]) == (400, "test_count: POST process needs a datafile")


def test_an_empty_file_is_a_file(node: Any, copier: Any) -> None:
    job = node.ended(node.send(copier, b""))
    assert job["inerror"] is False
    answer = node.get(job["datafileresult"])
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("{", "parameters: not JSON at line 1, column 2"),
        ("[]", "parameters: not a JSON object"),
        ('{"env": []}', "parameters: env is not a JSON object"),
        ('{"app": 1}', "parameters: app is not a JSON object"),
        ('{"app": {"specific": "x"}}', "parameters: app.specific is not a JSON object"),
        ('{"env": {"accelerator": 1}}', "parameters: env.accelerator is not text"),
        ('{"env": {"AGFI": 1}}', "parameters: env.AGFI is not text"),
        ('{"app": {"levle": 3}}', "unknown parameter 'levle'"),
        ('{"app": {"level": NaN}}', "parameters: not JSON"),
    ],
)
def test_wrong_parameters(node: Any, parameters: str, message: str) -> None:
    answer = node.post("/v1.0/configuration/", {"parameters": parameters})
    assert answer.status == 400
    assert message in answer.json["detail"]
    assert answer.app["status"] != 0
    assert answer.app["msg"] == answer.json["detail"]


def test_a_wrong_parameter_is_named_before_the_job_is_queued(node: Any) -> None:
    maker = node.configure("test_bytes")
    before = node.get("/v1.0/process/").json["count"]
    answer = node.post(
        "/v1.0/process/", {"configuration": maker["id"], "parameters": '{"app": {"specific": {"count": -1}}}'}
    )
    assert answer.status == 400
    assert answer.json["code"] == "parameter"
    assert "test_bytes: parameter 'count' = -1" in answer.json["detail"]
    assert node.get("/v1.0/process/").json["count"] == before


def test_parameters_may_stand_in_specific_or_beside_it(node: Any) -> None:
    maker = node.configure("test_bytes")
    for app in (
        {"count": 3},
        {"specific": {"count": 3}},
        {"count": 9, "reset": 1, "logging": {}, "specific": {"count": 3}},
    ):
        answer = node.post("/v1.0/process/", {"configuration": maker["id"], "parameters": json.dumps({"app": app})})
        assert node.ended(answer.json)["progress"]["bytes_out"] == 3


def test_the_historical_switches_change_nothing(node: Any) -> None:
    for reset in (True, 1, 0, False):
        app = {"reset": reset, "reload": reset, "logging": {"format": 1}, "enable-hw-statistics": True}
        body = {"env": {"AGFI": "agfi-1", "apyfal_version": "1.0", "client_id": "me"}, "app": app}
        answer = node.post("/v1.0/configuration/", {"parameters": json.dumps(body)})
        assert answer.status == 200
        assert answer.json["accelerator"] == "test_copy"


def test_no_function_named(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1")
    answer = node.post("/v1.0/configuration/", {"datafile": ""})
    assert answer.status == 400
    assert "env.accelerator" in answer.json["detail"]
    assert "test_copy" in answer.json["detail"]
    answer = node.post("/v1.0/configuration/", {"parameters": '{"env": {"accelerator": "test_cpoy"}}'})
    assert answer.status == 404
    assert answer.json["code"] == "function-unknown"
    assert "test_copy" in answer.json["detail"]


def test_a_wrong_datafile_is_refused_and_recorded(node: Any) -> None:
    fields = {"parameters": '{"env": {"accelerator": "test_words"}}'}
    active = node.configure("test_copy")
    answer = node.post("/v1.0/configuration/", fields, b"not a line")
    assert answer.status == 400
    assert answer.json["code"] == answer.json["errorcode"] == "datafile"
    assert answer.json["inerror"] is True
    assert "line 1" in answer.app["msg"]
    newest = node.get("/v1.0/configuration/").json["results"][0]
    assert (newest["inerror"], newest["used"], newest["errorcode"]) == (True, False, "datafile")
    assert node.get(active["url"]).json["used"] is True
    assert node.post("/v1.0/process/", {"configuration": newest["url"]}, b"a").status == 409
    answer = node.post("/v1.0/configuration/", fields)
    assert (answer.status, answer.json["detail"]) == (400, "test_words: POST configuration needs a datafile")
    answer = node.post("/v1.0/configuration/", {}, b"unwanted")
    assert (answer.status, answer.json["detail"]) == (400, "test_copy: POST configuration takes no datafile")


def test_another_function_than_the_configurations(node: Any, copier: Any) -> None:
    fields = {"configuration": copier["url"], "parameters": '{"env": {"accelerator": "test_count"}}'}
    answer = node.post("/v1.0/process/", fields, b"x")
    assert answer.status == 400
    assert "configure 'test_count' first" in answer.json["detail"]


def test_the_historical_schema(node: Any) -> None:
    served = node.get("/v1.0/schema/").json
    shipped = json.loads((ROOT / "acceleratorAPI/node/swagger-v1.0.json").read_text())
    assert served["host"] == node.url.removeprefix("http://")
    assert served["basePath"] == "/"
    assert served["paths"] == shipped["paths"]
    proxied = node.get("/v1.0/schema", X_Forwarded_Host="a.example", X_Forwarded_Prefix="/x", X_Forwarded_Proto="https")
    assert (proxied.json["host"], proxied.json["basePath"], proxied.json["schemes"]) == ("a.example", "/x", ["https"])


def test_urls_behind_a_proxy(node: Any, copier: Any) -> None:
    path = f"/v1.0/configuration/{copier['id']}"
    seen = node.get(
        path, X_Forwarded_Proto="https", X_Forwarded_Host="n.example:8443, inner", X_Forwarded_Prefix="/fpga/"
    )
    assert seen.json["url"] == f"https://n.example:8443/fpga{path}/"
    assert node.get(path, Host="other:99").json["url"] == f"http://other:99{path}/"
    for bad in ("a b", "x'><script>", "a@b", "x?y"):
        assert node.get(path, Host=bad).status == 400
        assert node.get(path, X_Forwarded_Prefix=f"/{bad}").json["url"] == f"{node.url}{path}/"


def test_the_public_url_beats_every_header(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1", "--public-url", "https://fpga.example/a/")
    record = node.configure("test_count")
    assert record["url"] == "https://fpga.example/a/v1.0/configuration/1/"
    assert node.send({"url": record["url"]}, b"1")["configuration"] == record["url"]


def test_ranges(node: Any, copier: Any) -> None:
    data = bytes(range(256)) * 9000
    url = node.ended(node.send(copier, data))["datafileresult"]
    whole = node.get(url)
    assert (whole.status, whole.body, whole.headers["Accept-Ranges"]) == (200, data, "bytes")
    cases = {
        "0-99": (0, 100),
        "100-": (100, None),
        "-7": (len(data) - 7, None),
        "5-999999999": (5, None),
        "0-0": (0, 1),
    }
    for text, (start, end) in cases.items():
        part = node.get(url, Range=f"bytes={text}")
        assert (part.status, part.body) == (206, data[start:end]), text
        last = (end or len(data)) - 1
        assert part.headers["Content-Range"] == f"bytes {start}-{last}/{len(data)}"
    for text in ("bytes=0-1,3-4", "bytes=9-2", "lines=1-2", "bytes=-"):
        assert node.get(url, Range=text).status == 200
    beyond = node.get(url, Range=f"bytes={len(data)}-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(data)}")
    assert beyond.json["inerror"] is True
    assert node.get(url, Range="bytes=0-1", If_Range='"other"').status == 200
    assert node.get(url, Range="bytes=0-1", If_Range=whole.headers["ETag"]).status == 206
    head = node.request("HEAD", url)
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(data)))


def test_legacy_profiling(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1", "--legacy-profiling")
    profiling = node.ended(node.send(node.configure("test_copy"), b"1"))["parametersresult"]["app"]["profiling"]
    assert profiling["fpga-elapsed-time"] == profiling["kernel-time"]
    assert profiling["hw_statistics"] == "no FPGA: CPU kernel"


def test_random_bytes_take_no_datafile(node: Any) -> None:
    configuration = node.configure("secureic_trng")
    assert configuration["inerror"] is False
    job = node.ended(node.send(configuration, None, nbBytes=70_000))
    app = job["parametersresult"]["app"]
    assert app["status"] == 0
    assert app["specific"]["source"] == "kernel"
    assert app["profiling"]["total-bytes-written"] == 0
    first = node.get(job["datafileresult"]).body
    again = node.ended(node.send(configuration, None, nbBytes=70_000))
    second = node.get(again["datafileresult"]).body
    assert len(first) == len(second) == 70_000
    assert first != second
