"""T21: 500 hostile names in every field, header and path: no file outside of the spool, no answer 5xx."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

NAMES = 500
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
