from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

CANARY = "canary-8d1f"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1.0/configuration/"),
        ("POST", "/v1.0/configuration/"),
        ("GET", "/v1.0/configuration/1/"),
        ("GET", "/v1.0/process"),
        ("POST", "/v1.0/process/"),
        ("GET", "/v1.0/process/1/"),
        ("DELETE", "/v1.0/process/1/"),
        ("GET", "/v1.0/process/1/datafileresult"),
        ("GET", "/v1.0/schema/"),
        ("GET", "/v1.0/stop"),
        ("GET", "/v2/functions"),
        ("GET", "/v2/lease"),
        ("PUT", "/v2/lease"),
        ("GET", "/nothing"),
    ],
)
def test_every_route_asks_for_the_token(node: Any, basic: Callable[[str], str], method: str, path: str) -> None:
    for header in (
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"bearer {node.token}x",
        basic("wrong"),
        "Basic %%%",
        "Digest x",
    ):
        headers = {} if header is None else {"Authorization": header}
        answer = node.request(method, path, headers=headers, auth=False)
        assert answer.status == 401, (path, header)
        assert "Bearer" in answer.headers["WWW-Authenticate"]
        assert answer.json["code"] == answer.json["errorcode"] == "authentication"
        assert answer.json["inerror"] is True


def test_bearer_and_basic(node: Any, basic: Callable[[str], str]) -> None:
    for header in (f"Bearer {node.token}", f"bearer  {node.token}", basic(node.token)):
        assert node.request("GET", "/v2/functions", headers={"Authorization": header}, auth=False).status == 200


@pytest.mark.parametrize("path", ["/", "/health/live", "/health/ready", "/docs", "/openapi.json"])
def test_open_routes(node: Any, path: str) -> None:
    assert node.request("GET", path, auth=False).status == 200


def test_the_token_of_a_file(nodes: Any, tmp_path: Any) -> None:
    (tmp_path / "secret").write_text("my token\n")
    node = nodes("--slots", "1", "--token-file", str(tmp_path / "secret"))
    node.token = "my token"
    assert node.get("/v2/functions").status == 200
    assert not (node.state / "token").exists()


def test_a_node_without_a_token_takes_no_web_page(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1")
    port = node.address[1]
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "192.0.2.1"):
        assert node.get("/v2/functions", Host=host).status == 403, host
    for origin in ("http://evil.example", "null", "http://localhost.evil.example"):
        assert node.get("/v2/functions", Origin=origin).status == 403, origin
    assert node.get("/v1.0/stop", Sec_Fetch_Site="cross-site").status == 403
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "[::1]:9"):
        assert node.get("/v2/functions", Host=host, Origin=f"http://{host}").status == 200, host


def test_secrets_are_kept_nowhere(nodes: Any) -> None:
    node = nodes("--slots", "1")
    parameters = {
        "env": {
            "accelerator": "test_words",
            "client_id": "me",
            "client_secret": f"{CANARY}-1",
            "nested": {"AWS_ACCESS": f"{CANARY}-2", "list": [{"api_key": f"{CANARY}-3"}]},
            "note": "AKIAIOSFODNN7EXAMPLE",
        },
        "app": {"password": f"{CANARY}-4", "level": 3},
    }
    fields = {"parameters": json.dumps(parameters)}
    bad = node.post("/v1.0/configuration/", fields, b"not a line")
    assert bad.status == 400
    good = node.post("/v1.0/configuration/", fields, b"a,b")
    assert good.status == 200
    # The function did get its parameter.
    assert good.app["specific"]["secured"] == 1
    echoed = json.loads(good.json["parameters"])
    assert echoed["env"]["client_secret"] == "***"
    assert echoed["env"]["client_id"] == "me"
    assert echoed["app"] == {"password": "***", "level": 3}
    parameters["app"] = {"levle": f"{CANARY}-5", "password": {"x": f"{CANARY}-6"}}
    wrong = node.post("/v1.0/configuration/", {"parameters": json.dumps(parameters)}, b"a,b")
    assert wrong.status == 400
    broken = node.post("/v1.0/configuration/", {"parameters": f'{{"password": "{CANARY}-7", }}'})
    assert broken.status == 400
    fail = node.configure("test_fail")
    failed = node.ended(node.send(fail, b"x", token=f"{CANARY}-8", how="untyped"))
    lists = node.get("/v1.0/configuration/").body + node.get("/v1.0/process/").body
    node.get(f"/v1.0/process/?token={CANARY}-9")
    node.get(f"/nothing?secret={CANARY}-9")
    node.end()
    with sqlite3.connect(node.state / "node.db") as database:
        stored = "\n".join(database.iterdump())
    database.close()
    answers = b"".join([bad.body, good.body, broken.body, lists, json.dumps(failed).encode()]).decode()
    for text in (stored, node.log, answers):
        assert CANARY not in text.replace(f"{CANARY}-5", "")
        assert "AKIAIOSFODNN7EXAMPLE" not in text
        assert node.token not in text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not-found"),
        ("GET", "/v1.0/", 404, "not-found"),
        ("GET", "/v1.0/process/0/", 400, "input"),
        ("GET", "/v1.0/process/x/", 400, "input"),
        ("GET", "/v1.0/process/99999999999999999999/", 400, "input"),
        ("GET", "/v1.0/process/999999/", 404, "not-found"),
        ("GET", "/v1.0/process/999999/datafileresult", 404, "not-found"),
        ("DELETE", "/v1.0/process/999999/", 404, "not-found"),
        ("GET", "/v1.0/configuration/999999", 404, "not-found"),
        ("PUT", "/v1.0/process/", 405, "input"),
        ("POST", "/v1.0/stop", 405, "input"),
        ("DELETE", "/v1.0/configuration/1/", 405, "input"),
        ("PUT", "/v2/lease", 400, "input"),
        ("GET", "/docs/..%2f..%2fetc%2fpasswd", 404, "not-found"),
        ("GET", "/docs/index.html", 404, "not-found"),
    ],
)
def test_every_error_has_the_one_shape(node: Any, method: str, path: str, status: int, code: str) -> None:
    answer = node.request(method, path)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json
    assert (body["status"], body["code"], body["errorcode"], body["inerror"]) == (status, code, code, True)
    assert body["parametersresult"]["app"]["status"] != 0
    assert body["parametersresult"]["app"]["msg"] == body["detail"]
    assert "\n" not in body["detail"]


def test_an_unexpected_error_says_an_incident_only(nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1")
    with sqlite3.connect(node.state / "node.db") as database:
        database.execute("DROP TABLE jobs")
    database.close()
    answer = node.get("/v1.0/process/")
    assert answer.status == 500
    assert "incident" in answer.json["detail"]
    assert "jobs" not in answer.json["detail"]
    incident = answer.json["detail"].split()[-1]
    (line,) = [line for line in node.log.splitlines() if incident in line]
    assert "no such table" in line
    assert node.get("/health/ready").status == 200
