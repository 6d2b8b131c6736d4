"""T27: who may do what, on every route: no token, a wrong, expired or revoked one, one for something else."""

from __future__ import annotations

import json
import socket
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from fastapi.routing import APIRoute
from typer.testing import CliRunner

from acceleratorAPI.cli.main import app as command_line
from acceleratorAPI.errors import NotFoundError, StateError
from acceleratorAPI.node.app import build
from acceleratorAPI.node.scopes import OPEN, declared, need_of
from acceleratorAPI.node.tokens import TokenFile
from acceleratorAPI.protocol.tokens import SCOPES, digest_of, new_token


def all_routes() -> list[tuple[str, str]]:
    """Every (method, path) the application has, undocumented ones too."""
    app = build(Mock())
    found = []

    def walk(routes: Any) -> None:
        for route in routes:
            if isinstance(route, APIRoute) or hasattr(route, "methods"):
                found.extend((method, route.path) for method in sorted(route.methods or ()))
            for part in (
                getattr(route, "routes", None),
                getattr(getattr(route, "original_router", None), "routes", None),
            ):
                if part:
                    walk(part)

    walk(app.routes)
    return sorted(set(found))


ROUTES = all_routes()
PROTECTED = [(method, path) for method, path in ROUTES if need_of(method, path) != OPEN]


def test_the_walk_sees_the_routes() -> None:
    assert {("POST", "/v1.0/process/"), ("POST", "/v1.0/process"), ("PUT", "/v2/lease"), ("GET", "/docs")} <= set(
        ROUTES
    )
    assert len(ROUTES) > 25


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_says_what_it_needs(method: str, path: str) -> None:
    assert declared(method, path.replace("{id}", "1").replace("{name}", "x")) is not None


def test_what_nobody_thought_of_needs_an_administrator() -> None:
    for method, path in (("GET", "/v3/new"), ("PATCH", "/v1.0/process/1"), ("POST", "/docs"), ("GET", "/v2/leases")):
        assert need_of(method, path) == "admin"


def give(node: Any, *scopes: Any, expires: datetime | None = None) -> tuple[str, str]:
    """A token of the node and its id."""
    token, record = new_token(scopes, expires=expires)
    TokenFile(node.state).add(record)
    return token, record.id


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, node_kind: Any) -> Any:
    """A node for tests of tokens, whose configurations may be stopped."""
    found = node_kind(tmp_path_factory.mktemp("guarded"))
    yield found("--accelerator", "test_copy", "--slots", "1")
    found.end()


@pytest.fixture(scope="module")
def given(guarded: Any) -> dict[str, str]:
    """A token of each kind."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    tokens = {scope: give(guarded, scope)[0] for scope in SCOPES}
    tokens["expired"] = give(guarded, "admin", expires=past)[0]
    tokens["revoked"], identifier = give(guarded, "admin")
    TokenFile(guarded.state).revoke(identifier)
    tokens["wrong"] = new_token(("admin",))[0]
    return tokens


def ask(node: Any, method: str, path: str, token: str | None) -> Any:
    path = path.replace("{id}", "987654").replace("{name}", "x")
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return node.request(method, path, headers=headers, auth=False)


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_every_route_with_every_kind_of_token(guarded: Any, given: dict[str, str], method: str, path: str) -> None:
    need = need_of(method, path)
    for kind in (None, "wrong", "expired", "revoked"):
        answer = ask(guarded, method, path, None if kind is None else given[kind])
        assert answer.status == 401, kind
        if method != "HEAD":
            assert answer.json["code"] == "authentication"
            assert (kind or "token") in answer.json["detail"] or kind == "wrong"
    for scope in SCOPES:
        status = ask(guarded, method, path, given[scope]).status
        if scope in (need, "admin"):
            assert status not in (401, 403), scope
        else:
            assert status == 403, scope


def test_a_token_of_two_scopes(guarded: Any) -> None:
    token, _ = give(guarded, "read", "process")
    assert ask(guarded, "GET", "/v2/functions", token).status == 200
    assert ask(guarded, "POST", "/v1.0/process/", token).status != 403
    assert ask(guarded, "GET", "/v1.0/stop", token).status == 403


@pytest.mark.parametrize("how", ["chunk", "finish"])
def test_a_token_revoked_during_an_upload_ends_it(guarded: Any, how: str) -> None:
    token, identifier = give(guarded, "process")
    guarded.configure("test_copy")
    body = b'--bd\r\nContent-Disposition: form-data; name="datafile"; filename="x"\r\n\r\n' + b"x" * 100_000
    end = b"\r\n--bd--\r\n"
    head = (
        f"POST /v1.0/process/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: multipart/form-data; boundary=bd\r\nContent-Length: {len(body) + len(end)}\r\n\r\n"
    )
    jobs, before = guarded.get("/v1.0/process/").json["count"], guarded.spool()
    with socket.create_connection(guarded.address, 60) as connection:
        connection.sendall(head.encode() + body[:50_000])
        if how == "finish":
            connection.sendall(body[50_000:])
        while guarded.spool() == before:
            pass
        TokenFile(guarded.state).revoke(identifier)
        connection.sendall(body[50_000:50_001] if how == "chunk" else end)
        answer = b""
        while b"was revoked" not in answer and (data := connection.recv(65536)):
            answer += data
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"was revoked" in answer
    assert guarded.get("/v1.0/process/").json["count"] == jobs
    assert guarded.spool() == before


def test_a_token_revoked_during_a_download_ends_it(guarded: Any) -> None:
    size = 64 << 20
    record = guarded.ended(guarded.send(guarded.configure("test_copy"), b"x" * size))
    token, identifier = give(guarded, "admin")
    with socket.create_connection(guarded.address, 60) as connection:
        path = f"/v1.0/process/{record['id']}/datafileresult"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        received = len(connection.recv(1000))
        TokenFile(guarded.state).revoke(identifier)
        while data := connection.recv(1 << 20):
            received += len(data)
    assert received < size
    assert guarded.request("DELETE", f"/v1.0/process/{record['id']}/").status == 204


def test_a_token_sees_what_was_made_with_it_and_nothing_else(guarded: Any) -> None:
    """Another tenant's jobs and uploads are not there: to read, list, follow, add to, use, cancel or delete."""
    ours, theirs = (give(guarded, "read", "process")[0] for _ in range(2))

    def as_(token: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        given = {"Authorization": f"Bearer {token}", **{name.replace("_", "-"): text for name, text in headers.items()}}
        return guarded.request(method, path, body, given, auth=False)

    def begin(token: str, key: str, **asked: Any) -> Any:
        return as_(token, "POST", "/v2/jobs", json.dumps(asked), Content_Type="application/json", Idempotency_Key=key)

    def upload(token: str, data: bytes, **headers: str) -> str:
        made = as_(token, "POST", "/v2/files/", data, Upload_Complete="?1", **headers)
        assert made.status == 201, made.body
        return str(made.headers["Location"]).removeprefix(guarded.url)

    configuration = guarded.configure("test_copy")["url"]
    sent = upload(ours, b"ours alone")
    part = upload(ours, b"a part", Upload_Concat="partial")
    job = begin(ours, "key", configuration=configuration, upload=upload(ours, b"of the job")).json
    record = as_(ours, "GET", f"/v2/jobs/{job['id']}?wait=30").json
    assert record["progress"]["state"] == "succeeded"
    number = job["id"]
    attempts = [
        *(("GET", f"/v2/jobs/{number}{more}") for more in ("", "?wait=1", "/events", "/result", "/result?follow=true")),
        *(("GET", f"/v1.0/process/{number}{more}") for more in ("", "/", "?wait=1", "/datafileresult")),
        *(("HEAD", path) for path in (sent, f"/v2/jobs/{number}/result", f"/v1.0/process/{number}/datafileresult")),
        ("POST", f"/v2/jobs/{number}/cancel"),
        ("GET", sent),
        *(("DELETE", path) for path in (sent, f"/v2/jobs/{number}", f"/v1.0/process/{number}/")),
    ]
    for method, path in attempts:
        answer = as_(theirs, method, path)
        assert answer.status == 404, (method, path)
        assert b"ours" not in answer.body
    patch = {"Content_Type": "application/offset+octet-stream", "Upload_Offset": "10", "Tus_Resumable": "1.0.0"}
    assert as_(theirs, "PATCH", sent, b"x", **patch).status == 404
    final = {"Upload_Concat": f"final;{part}", "Tus_Resumable": "1.0.0"}
    assert as_(theirs, "POST", "/v2/files/", **final).status == 404
    assert begin(theirs, "other", configuration=configuration, upload=sent).status == 404
    # The same key of another is another key.
    second = begin(theirs, "key", configuration=configuration, upload=upload(theirs, b"of the job"))
    assert second.status == 201
    assert second.json["id"] != number
    for path in ("/v2/jobs", "/v1.0/process/"):
        assert [one["id"] for one in as_(theirs, "GET", path).json["results"]] == [second.json["id"]]
    as_(theirs, "GET", f"/v2/jobs/{second.json['id']}?wait=30")
    seen = as_(theirs, "GET", "/v2/node").json
    assert {one["id"] for one in seen["recent"] + seen["live"]} == {second.json["id"]}
    # An administrator sees both, their own maker still all of theirs.
    assert {number, second.json["id"]} <= {one["id"] for one in guarded.get("/v2/jobs").json["results"]}
    assert as_(ours, "GET", sent).body == b"ours alone"
    assert as_(ours, "GET", f"/v2/jobs/{number}/result").body == b"of the job"
    for path in (sent, part, f"/v2/jobs/{number}"):
        assert as_(ours, "DELETE", path).status == 204
    assert guarded.request("DELETE", f"/v2/jobs/{second.json['id']}").status == 204


def test_a_damaged_file_lets_nobody_in_and_the_nodes_own_token_works(nodes: Any) -> None:
    node = nodes("--slots", "1")
    token, _ = give(node, "admin")
    assert ask(node, "GET", "/v2/functions", token).status == 200
    (node.state / "tokens.json").write_text("{")
    assert ask(node, "GET", "/v2/functions", token).status == 401
    assert node.get("/v2/functions").status == 200
    with pytest.raises(StateError, match="damaged"):
        TokenFile(node.state).read()
    node.end()
    again = nodes.spawn(state=node.state)
    assert again.process.wait(60) == 2
    assert "tokens.json' is damaged" in again.log


def test_the_folder_of_a_node_that_was_given_a_token_holds_none(nodes: Any, tmp_path: Any) -> None:
    (tmp_path / "secret").write_text("canary-given\n")
    node = nodes("--slots", "1", "--token-file", str(tmp_path / "secret"))
    token, _ = give(node, "admin")
    for known in ("canary-given", token):
        assert ask(node, "GET", "/v2/functions", known).status == 200
    node.end()
    again = nodes("--slots", "1", state=node.state)
    assert again.token is None
    assert ask(again, "GET", "/v2/functions", token).status == 200
    again.end()
    with sqlite3.connect(node.state / "node.db") as database:
        stored = "\n".join(database.iterdump())
    database.close()
    stored += "".join(path.read_text(errors="replace") for path in node.state.iterdir() if path.is_file())
    for secret in ("canary-given", token):
        assert secret not in stored + node.log + again.log
    assert digest_of(token) in stored
    assert (node.state / "tokens.json").stat().st_mode & 0o777 == 0o600


def test_the_command_line(guarded: Any) -> None:
    state = ["--state", str(guarded.state)]

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(command_line, ["node", "token", *arguments, *state])

    made = run("new", "--scopes", "process,read", "--expires", "7d", "--name", "nightly")
    assert made.exit_code == 0, made.output
    token = made.stdout.splitlines()[-1]
    assert ask(guarded, "GET", "/v2/functions", token).status == 200
    listed = json.loads(run("list", "--json").stdout)
    (mine,) = [entry for entry in listed if entry["name"] == "nightly"]
    assert mine["scopes"] == ["process", "read"]
    left = datetime.fromisoformat(mine["expires"]) - datetime.now(UTC)
    assert timedelta(days=6) < left <= timedelta(days=7)
    assert token not in run("list").output
    assert digest_of(token) not in run("list", "--json").output
    assert run("revoke", mine["id"]).exit_code == 0
    assert ask(guarded, "GET", "/v2/functions", token).status == 401
    assert isinstance(run("revoke", "nothing").exception, NotFoundError)
    for wrong in (("--scopes", "raed"), ("--scopes", ","), ("--scopes", "read", "--expires", "soon")):
        failed = run("new", *wrong)
        assert failed.exit_code != 0
        assert wrong[-1] in str(failed.exception)
