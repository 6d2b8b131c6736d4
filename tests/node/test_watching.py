"""What a node says of itself: ``/v2/node``, ``/metrics`` and what ``/`` is to whom."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from acceleratorAPI.protocol.status import NodeStatus

ROOT = Path(__file__).parents[2]
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"


def status(node: Any) -> NodeStatus:
    answer = node.get("/v2/node")
    assert answer.status == 200, answer.body
    return NodeStatus.model_validate_json(answer.body)


def scraped(node: Any) -> dict[str, Any]:
    """Each family of ``/metrics`` by its name in the exposition."""
    answer = node.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = prometheus(answer.body.decode())
    return {f.name + ("_total" if f.type == "counter" else ""): f for f in families}


def value(families: dict[str, Any], name: str, family: str = "", **labels: str) -> float:
    samples = families[family or name].samples
    (found,) = [sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()]
    return float(found)


@pytest.fixture
def single(nodes: Any) -> Any:
    """A node of its own with one slot."""
    return nodes("--accelerator", "test_copy", "--slots", "1", "--queue", "5")


def test_a_new_node_at_a_glance(single: Any, nodes: Any) -> None:
    found = status(single)
    assert found.functions == sorted(found.functions)
    assert "test_copy" in found.functions
    assert found.accelerator == "test_copy"
    assert (found.queue.waiting, found.queue.arriving, found.queue.limit) == (0, 0, 5)
    assert (found.live, found.recent, found.uploads_open, found.draining) == ([], [], 0, False)
    assert found.spool.files == 0
    assert found.spool.free_bytes > 0
    assert found.protection == {"auth": "token", "loopback_only": True, "files_under": []}
    assert found.processes[0].name == "node"
    assert found.processes[0].pid == single.process.pid
    assert found.processes[0].rss_bytes > 1_000_000
    assert [slot.number for slot in found.slots] == [0]


def test_jobs_are_followed_from_the_queue_to_the_end(single: Any) -> None:
    slow = single.configure("test_slow")
    running = single.send(slow, b"x" * 2000, seconds=60)
    waiting = single.send(slow, b"y" * 10, seconds=0)
    single.until(running, lambda record: record["progress"]["bytes_in"] > 3)
    found = status(single)
    assert [(job.id, job.state) for job in found.live] == [(running["id"], "running"), (waiting["id"], "queued")]
    assert found.live[0].bytes_total == 2000
    assert 0 < found.live[0].bytes_in < 2000
    assert found.live[0].elapsed_s > 0
    assert found.live[1].elapsed_s == 0
    (slot,) = found.slots
    assert (slot.state, slot.job, slot.function) == ("running", running["id"], "test_slow")
    assert slot.pid == single.workers()[0].pid
    assert (found.jobs.running, found.jobs.queued, found.queue.waiting) == (1, 1, 1)
    assert found.totals.bytes_in >= found.live[0].bytes_in > 0
    assert found.rates.bytes_in > 0
    assert found.spool.files == 3, "two inputs, and an output that grows"
    families = scraped(single)
    assert value(families, "acceleratorapi_jobs_live", function="test_slow", state="running") == 1
    assert value(families, "acceleratorapi_jobs_live", function="test_slow", state="queued") == 1
    assert value(families, "acceleratorapi_slots_busy") == value(families, "acceleratorapi_queue_length") == 1
    single.request("DELETE", f"/v1.0/process/{running['id']}/")
    single.ended(waiting)
    found = status(single)
    assert [(job.id, job.state) for job in found.recent] == [(waiting["id"], "succeeded"), (running["id"], "cancelled")]
    assert found.recent[1].errorcode == "cancelled"
    assert (found.jobs.succeeded, found.jobs.cancelled, found.live) == (1, 1, [])
    assert found.slots[0].job is None


def test_totals_are_those_of_the_jobs(single: Any) -> None:
    copier = single.configure("test_copy")
    for size in (0, 1, 100_000, 5_000_000):
        single.ended(single.send(copier, b"z" * size))
    single.ended(single.send(single.configure("test_fail"), b"abc"))
    found, families = status(single), scraped(single)
    assert found.totals.bytes_in == found.totals.bytes_out == 5_100_001
    assert found.totals.kernel_s > 0
    assert found.totals.received_bytes > 5_100_001
    name = "acceleratorapi_job_input_bytes"
    assert value(families, f"{name}_sum", name, function="test_copy") == 5_100_001
    assert value(families, f"{name}_count", name, function="test_copy") == 4
    assert value(families, f"{name}_bucket", name, function="test_copy", le="1024.0") == 2
    assert value(families, "acceleratorapi_job_duration_seconds_count", "acceleratorapi_job_duration_seconds",
                 function="test_fail") == 1  # fmt: skip
    assert value(families, "acceleratorapi_jobs_total", function="test_copy", state="succeeded") == 4
    assert value(families, "acceleratorapi_jobs_total", function="test_fail", state="failed") == 1
    kernel = value(families, "acceleratorapi_job_kernel_seconds_total", function="test_copy")
    assert kernel == pytest.approx(found.totals.kernel_s)


def test_a_crash_is_counted(single: Any) -> None:
    single.ended(single.send(single.configure("test_slow"), b"abc", seconds=0, then="kill"))
    assert status(single).totals.worker_crashes == 1
    assert value(scraped(single), "acceleratorapi_worker_crashes_total") == 1


def test_requests_are_counted_by_route(single: Any) -> None:
    for _ in range(3):
        single.get("/v1.0/process/77/")
        single.get("/v1.0/process/77")
    single.get("/nothing/here")
    single.get("/nothing/else")
    single.request("GET", "/v2/node", auth=False)
    single.request("BREW", "/v2/node")
    families = scraped(single)
    name = "acceleratorapi_http_requests_total"
    assert value(families, name, route="/v1.0/process/{id}", method="GET", status="404") == 6
    assert value(families, name, route="(none)", method="GET", status="404") == 2
    assert value(families, name, route="(none)", method="GET", status="401") == 1
    assert {sample.labels["method"] for sample in families[name].samples} <= {"GET", "OTHER"}
    time = "acceleratorapi_http_request_duration_seconds"
    assert value(families, f"{time}_count", time, route="/v1.0/process/{id}", method="GET") == 6


def test_an_upload_is_open_while_it_arrives(single: Any) -> None:
    single.configure("test_copy")
    assert status(single).uploads_open == 0
    go_on = threading.Event()

    def body() -> Any:
        yield b'--b\r\nContent-Disposition: form-data; name="datafile"; filename="x"\r\n\r\n' + b"x" * 1000
        go_on.wait(30)
        yield b"x\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    sender = threading.Thread(target=single.request, args=("POST", "/v1.0/process/", body(), headers))
    sender.start()
    try:
        for _ in range(200):
            found = status(single)
            if found.uploads_open:
                break
        assert (found.uploads_open, found.queue.arriving) == (1, 1)
        assert value(scraped(single), "acceleratorapi_uploads_open") == 1
    finally:
        go_on.set()
        sender.join(30)
    assert status(single).uploads_open == 0


def test_openmetrics_for_whom_asks(node: Any) -> None:
    answer = node.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in open_metrics(answer.body.decode())}
    assert families["acceleratorapi_build_info"].samples[0].value == 1


@pytest.mark.parametrize("path", ["/metrics", "/v2/node"])
def test_they_need_the_token(node: Any, path: str) -> None:
    assert node.request("GET", path, auth=False).status == 401


def test_every_metric_is_in_the_operators_page_as_it_is(single: Any) -> None:
    page = (ROOT / "docs/operating-a-node.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(acceleratorapi_\w+)` \| (\w+) \| (.*?) \| (.+?) \|$", page, re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels)), text) for name, kind, labels, text in rows}
    single.ended(single.send(single.configure("test_copy"), b"x"))
    slow = single.configure("test_slow")
    job = single.send(slow, b"x", seconds=60)
    shown = {
        name: (family.type, set().union(*(sample.labels for sample in family.samples)) - {"le"}, family.documentation)
        for name, family in scraped(single).items()
    }
    single.request("DELETE", f"/v1.0/process/{job['id']}/")
    assert shown == documented


def test_the_fields_of_the_status_are_in_the_reference() -> None:
    reference = (ROOT / "docs/rest-api.md").read_text(encoding="utf-8")
    section = reference.partition("### `GET /v2/node`")[2].partition("\n### ")[0]
    for name, field in NodeStatus.model_fields.items():
        if name != "inerror":
            assert f"`{name}`" in section, name
        for model in (field.annotation, *get_args(field.annotation)):
            for inner in getattr(model, "model_fields", {}):
                assert f"`{inner}`" in section, f"{name}.{inner}"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (BROWSER, "text/html; charset=utf-8"),
        ("text/html", "text/html; charset=utf-8"),
        ("*/*", "application/json"),
        ("", "application/json"),
        ("application/json", "application/json"),
        ("application/json, text/html", "application/json"),
        ("text/html;q=0.2, application/json", "application/json"),
        ("text/html;q=0", "application/json"),
        ("text/html;q=x", "application/json"),
    ],
)
def test_the_face_is_a_page_for_browsers_only(node: Any, accept: str, kind: str) -> None:
    answer = node.request("GET", "/", headers={"Accept": accept}, auth=False)
    assert answer.status == 200
    assert answer.headers["content-type"] == kind
    assert answer.headers["vary"] == "Accept"


def test_the_page_and_its_files_are_closed_to_others(node: Any) -> None:
    page = node.request("GET", "/", headers={"Accept": BROWSER}, auth=False)
    files = re.findall(r'(?:src|href)="(web/[^"]+)"', page.body.decode())
    assert {Path(name).suffix for name in files} == {".css", ".js", ".svg"}
    for answer in (page, *(node.request("GET", f"/{name}", auth=False) for name in files)):
        assert answer.status == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert b"http://" not in answer.body.replace(b'xmlns="http://www.w3.org/2000/svg"', b"").replace(
            b"http://www.w3.org/2000/svg", b""
        )
        assert b"https://" not in answer.body
    assert not re.search(r"<script(?![^>]*src)|style=|\son\w+=", page.body.decode())
    assert node.request("GET", "/web/node.html", auth=False).status == 404
    assert node.request("GET", "/web/..%2fserve.py", auth=False).status in (401, 404)
