"""T21: 500 hostile names in every field, header and path: no file outside of the spool, no answer 5xx."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import math
import random
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

NAMES = 500
_ROUNDS = 7
_SHAPES = (
    "../../../../{}", "..\\..\\{}", "/{}", "//{}", "{}/.", "{}\x00.txt", "file:///{}", "file://{}",
    "http://127.0.0.1/{}", "~/{}", "$HOME/{}", "`touch {}`", "$(touch {})", "%2e%2e%2f{}", "%00{}",
    "..%c0%af{}", "CON", "/dev/null", "/dev/stdin", "/proc/self/mem", "/proc/self/fd/1", "-rf {}",
    "{}; rm -rf .", "{}\r\nX-Injected: 1", "{}\n", "\u202e{}", "\ufeff{}", "\xe9\u0300{}", "\U0001f4a5{}",
    "{}" + "a" * 4096, "." * 255 + "{}", " ", "", ".", "..", "/", '\'"{}"\'', "{{{{{}}}}}",
    "<script>{}</script>", "0", "-1", "1e308", "NaN", "null", "[]", "{}|cat", "\x7f{}", "\x1b[31m{}",
    "spool/{}", "../token", "../node.db", "../tokens.json",
)  # fmt: skip


def hostile_names() -> list[str]:
    """Each shape in turn around a short random word; the same in every run."""
    random_source = random.Random(21)
    words = ["".join(random_source.choices(string.ascii_lowercase, k=6)) for _ in range(NAMES)]
    return [_SHAPES[number % len(_SHAPES)].replace("{}", word) for number, word in enumerate(words)]


def header_text(name: str) -> str:
    """What an HTTP library lets into a header."""
    return "".join(c for c in name if c.isprintable()).encode("utf-8").decode("latin-1") or "x"


def files_below(*folders: Path) -> set[Path]:
    return {path for folder in folders for path in folder.rglob("*")}


def body_of(name: str) -> tuple[bytes, str]:
    """A form with the name everywhere a name can be, as raw as multipart allows."""
    raw = name.encode("utf-8", "surrogatepass")
    quoted = raw.replace(b'"', b'\\"')
    parts = [
        b'Content-Disposition: form-data; name="source"\r\n\r\n' + raw,
        b'Content-Disposition: form-data; name="target"\r\n\r\n' + raw,
        b'Content-Disposition: form-data; name="configuration"\r\n\r\n' + raw,
        b'Content-Disposition: form-data; name="' + quoted + b'"\r\n\r\nx',
        b'Content-Disposition: form-data; name="datafile"; filename="'
        + quoted
        + b"\"; filename*=UTF-8''"
        + quote(raw).encode()
        + b"\r\nContent-Type: text/plain\r\n\r\ndata",
    ]
    body = b"".join(b"--bd\r\n" + part + b"\r\n" for part in parts) + b"--bd--\r\n"
    return body, "multipart/form-data; boundary=bd"


def answers(node: Any, name: str, copier: Any) -> Any:
    """Every answer to this name, at every place it can stand."""
    body, form = body_of(name)
    yield node.request("POST", "/v1.0/process/", body, {"Content-Type": form})
    yield node.request("POST", "/v1.0/configuration/", body, {"Content-Type": form})
    for field in ("source", "target", "configuration"):
        fields = {"configuration": copier["url"], field: name.replace("\r", "").replace("\n", "")}
        if field != "source":
            yield node.post("/v1.0/process/", fields, b"data")
        else:
            yield node.post("/v1.0/process/", fields)
    for values in ({"env": {"accelerator": name}}, {"app": {"specific": {name: name}}}, {name: {name: name}}):
        yield node.post("/v1.0/configuration/", {"parameters": json.dumps(values)})
    path = quote(name.encode("utf-8", "surrogatepass"))
    for prefix in ("/v1.0/process/", "/v1.0/configuration/", "/docs/", "/v2/", "/"):
        yield node.request("GET", prefix + path)
    yield node.request("GET", f"/v1.0/process/?page={path}&wait={path}&{path}={path}")
    header = header_text(name)
    headers = {"X-Forwarded-Host": header, "X-Forwarded-Proto": header, "X-Forwarded-Prefix": header, "Range": header}
    yield node.request("GET", "/v1.0/configuration/", headers={**headers, "User-Agent": header, "If-Range": header})
    yield node.request("POST", "/v1.0/process/", b"x", {"Content-Type": header})
    yield node.request("POST", "/v1.0/process/", b"x", {"Content-Type": f"multipart/form-data; boundary={header}"})


@pytest.mark.parametrize("part", range(5))
def test_hostile_names(nodes: Any, tmp_path: Path, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "files"
    files.mkdir()
    monkeypatch.chdir(files)
    node = nodes("--slots", "1", "--accelerator", "test_copy", "--files-under", str(files))
    copier = node.configure("test_copy")
    before = files_below(tmp_path) - files_below(node.state)
    kept = (node.state / "token").read_text()
    for name in hostile_names()[part::5]:
        for answer in answers(node, name, copier):
            assert answer.status < 500, (name, answer.body)
            assert "X-Injected" not in answer.headers, name
    # Nothing beside the node's own files, whose names are its own.
    assert files_below(tmp_path) - files_below(node.state) == before
    assert all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in node.spool())
    assert (node.state / "token").read_text() == kept


Exchange = tuple[str, str, bytes, dict[str, str]]
TUS = {"Tus-Resumable": "1.0.0", "Upload-Length": "4", "Content-Type": "application/offset+octet-stream"}
IETF = {"Upload-Complete": "?1", "Content-Type": "application/octet-stream"}
JSON = {"Content-Type": "application/json"}
UPLOAD_HEADERS = (
    "Tus-Resumable", "Upload-Length", "Upload-Defer-Length", "Upload-Metadata", "Upload-Concat", "Upload-Checksum",
    "Upload-Complete", "Upload-Draft-Interop-Version", "Content-Digest", "Content-Type", "X-HTTP-Method-Override",
)  # fmt: skip
PIECE_HEADERS = ("Upload-Offset", "Upload-Length", "Upload-Ahead", "Upload-Checksum", "Upload-Complete", "Content-Type")
RUN_HEADERS = ("Idempotency-Key", "Job-Parameters", "Content-Digest", "Content-Type", "Accept", "X-Request-Id",
    "traceparent", "tracestate", "Authorization")  # fmt: skip
JOB_FIELDS = ("configuration", "upload", "source", "target", "name", "parameters", "folder")


def second_version(name: str, upload: str) -> Iterator[Exchange]:
    """Requests of version 2 that are right but for the name, which stands at one place of each."""
    header, path = header_text(name), quote(name.encode("utf-8", "surrogatepass"), safe="")
    for field in UPLOAD_HEADERS:
        yield "POST", "/v2/files/", b"data", {**TUS, field: header}
        yield "POST", "/v2/files/", b"data", {**IETF, field: header}
    yield "POST", "/v2/files/", b"", {**TUS, "Upload-Concat": f"final;{header}"}
    yield "POST", "/v2/files/", b"", {**TUS, "Upload-Concat": f"final;/v2/files/{header}"}
    yield "POST", "/v2/files/", b"data", {**TUS, "Upload-Metadata": f"filename {header}"}
    for field in PIECE_HEADERS:
        yield "PATCH", upload, b"data", {**TUS, "Upload-Offset": "0", "Content-Type": "text/plain", field: header}
    yield "HEAD", upload, b"", {**TUS, "Want-Repr-Digest": header}
    for method in ("HEAD", "PATCH", "DELETE"):
        yield method, f"/v2/files/{path}", b"", {**TUS, "Upload-Offset": "0"}
    for field in RUN_HEADERS:
        yield "POST", "/v2/run?wait=1", b"data", {"Content-Type": "application/octet-stream", field: header}
    for field in ("configuration", "name", "folder", "wait", "x"):
        query = urlencode({field: name}, errors="surrogatepass")
        yield "POST", f"/v2/run?{query}", b"data", {"Content-Type": "application/octet-stream"}
    for field in JOB_FIELDS:
        yield "POST", "/v2/jobs", json.dumps({field: name}).encode(), JSON
    for value in ({"name": name, "upload": name}, {"parameters": {name: name}}, {name: {name: name}}, name, [name]):
        yield "POST", "/v2/jobs", json.dumps(value).encode(), JSON
    yield "POST", "/v2/jobs", b"{}", {**JSON, "Idempotency-Key": header}
    for value in ({"at_end": name}, {"owner_pid": name}, {name: 1}, {"seconds": name}):
        yield "PUT", "/v2/lease", json.dumps(value).encode(), JSON
    for place in ("jobs", "files", "functions", "node", "lease"):
        yield "GET", f"/v2/{place}/{path}", b"", {"Last-Event-ID": header}


class Kept:
    """A connection that is kept as long as the node likes it."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._connection = http.client.HTTPConnection(*node.address, timeout=60)

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, Any]:
        headers = {"Authorization": f"Bearer {self._node.token}", **headers}
        try:
            response = self._asked(method, path, body, headers)
        except (http.client.RemoteDisconnected, ConnectionError):
            # It did not like what came before.
            self._connection.close()
            response = self._asked(method, path, body, headers)
        answer = response.status, response.read(), response.headers
        if response.will_close:
            self._connection.close()
        return answer

    def close(self) -> None:
        self._connection.close()

    def _asked(self, *request: Any) -> http.client.HTTPResponse:
        self._connection.request(*request)
        return self._connection.getresponse()


def test_hostile_names_in_version_2(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "files"
    files.mkdir()
    monkeypatch.chdir(files)
    node = nodes("--slots", "1", "--accelerator", "test_copy", "--queue", "100000", "--files-under", str(files))
    node.configure("test_copy")
    before = files_below(tmp_path) - files_below(node.state)
    own = {path.name: path.read_bytes() for path in (node.state / "token", node.state / "node.json")}
    kept = Kept(node)
    _, _, made = kept.ask("POST", "/v2/files/", b"", {**TUS, "Upload-Length": "100"})
    upload = made["Location"].removeprefix(node.url)
    with contextlib.closing(kept):
        # Every shape comes to every place, though not every name does.
        assert math.gcd(len(_SHAPES), _ROUNDS) == 1
        assert len(_SHAPES) * _ROUNDS <= NAMES
        for number, name in enumerate(hostile_names()):
            for exchange in itertools.islice(second_version(name, upload), number % _ROUNDS, None, _ROUNDS):
                status, body, headers = kept.ask(*exchange)
                assert status < 500, (exchange, body)
                assert "X-Injected" not in headers, exchange
    assert files_below(tmp_path) - files_below(node.state) == before
    assert all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in node.spool())
    assert {path.name: path.read_bytes() for path in (node.state / "token", node.state / "node.json")} == own
