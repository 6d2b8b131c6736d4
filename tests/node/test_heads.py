"""Heads of requests that two readers could understand differently are refused, and nothing after them is run."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest

# Would be logged and answered 204 or 404 if it were ever run.
SMUGGLED = b"DELETE /v1.0/process/424242/ HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(*fields: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([b"POST /v1.0/process/ " + version, b"Host: localhost", *fields, b"", b""])


CHUNKED = b"Transfer-Encoding: chunked"
PROBES = {
    "CL and TE": post(b"Content-Length: 5", CHUNKED) + b"0\r\n\r\n",
    "TE and CL": post(CHUNKED, b"Content-Length: 5") + b"0\r\n\r\n",
    "two differing CL": post(b"Content-Length: 0", b"Content-Length: 60"),
    "two equal CL": post(b"Content-Length: 0", b"Content-Length: 0"),
    "CL list": post(b"Content-Length: 0, 60"),
    "CL +3": post(b"Content-Length: +3") + b"abc",
    "CL -1": post(b"Content-Length: -1"),
    "CL hex": post(b"Content-Length: 0x3") + b"abc",
    "CL 2^64+3": post(b"Content-Length: 18446744073709551619") + b"abc",
    "CL empty": post(b"Content-Length:"),
    "TE xchunked": post(b"Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "TE gzip, chunked": post(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "TE identity": post(b"Transfer-Encoding: identity"),
    "TE twice": post(CHUNKED, b"Transfer-Encoding: identity") + b"0\r\n\r\n",
    "TE in HTTP/1.0": post(CHUNKED, version=b"HTTP/1.0") + b"0\r\n\r\n",
    "bad chunk size": post(CHUNKED) + b"5z\r\nabcde\r\n0\r\n\r\n",
    "negative chunk size": post(CHUNKED) + b"-1\r\n\r\n",
    "overflowing chunk size": post(CHUNKED) + b"10000000000000000\r\n",
    "chunk without its line end": post(CHUNKED) + b"3\r\nabcd\r\n0\r\n\r\n",
    "chunk size with a bare LF": post(CHUNKED) + b"3\nabc\r\n0\r\n\r\n",
    "folded field": post(b"X: a", b" Content-Length: 60"),
    "space before the colon": post(b"Content-Length : 60"),
    "no Host": b"POST /v1.0/process/ HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "two Hosts": post(b"Host: localhost", b"Content-Length: 0"),
    "Host with a path": b"POST / HTTP/1.1\r\nHost: localhost/x\r\n\r\n",
    "NUL in a field": post(b"X: a\0b"),
    "CR in a field": post(b"X: a\rContent-Length: 60"),
    "bare LF": b"POST / HTTP/1.1\nHost: localhost\n\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2.0": post(version=b"HTTP/2.0"),
    "another node's URL": b"GET http://elsewhere/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "CONNECT": b"CONNECT elsewhere:80 HTTP/1.1\r\nHost: elsewhere\r\n\r\n",
    "128 KiB head": post(b"X: " + b"a" * (128 << 10)),
    "128 KiB target": b"GET /" + b"a" * (128 << 10) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "endless line ends": b"\r\n" * (32 << 10),
    "101 fields": post(*[b"X-%d: 1" % number for number in range(100)]),
    "101 trailers": post(CHUNKED) + b"0\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(101)) + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 512,
}


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("pieces", ["whole", "bytewise"])
def test_an_odd_request_is_refused_and_closes(open_node: Any, name: str, pieces: str) -> None:
    sent = PROBES[name] + SMUGGLED
    parts = [sent] if pieces == "whole" else [sent[at : at + 1] for at in range(600)] + [sent[600:]]
    answer = open_node.exchange(*parts)
    (status,) = statuses(answer)
    assert status == (431 if "128 KiB" in name or "101" in name or "endless" in name else 400)
    assert b"connection: close" in answer.lower()
    assert b"nosniff" in answer
    assert b"424242" not in answer
    assert open_node.get("/health/ready").status == 200


def test_a_good_request_before_an_odd_one_is_answered_alone(open_node: Any) -> None:
    good = b"GET /v1.0/process/?page=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for name in ("CL and TE", "no Host", "folded field", "HTTP/0.9"):
        answer = open_node.exchange(good + PROBES[name] + SMUGGLED)
        assert statuses(answer)[0] == 200, name
        assert statuses(answer)[1:] in ([], [400]), name
        assert b"424242" not in answer


def test_trailers_are_no_part_of_the_head(open_node: Any) -> None:
    head = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + CHUNKED + b"\r\n\r\n"
    answer = open_node.exchange(head + b"0\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n\r\n")
    assert statuses(answer) == [404]


def test_requests_one_after_the_other_on_one_connection(open_node: Any) -> None:
    good = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert statuses(open_node.exchange(good * 8 + last)) == [200] * 9
    assert statuses(open_node.exchange(last + SMUGGLED)) == [200]
    # A head as long as it may be, and as many of them as may wait.
    long = good[:-2] + b"X: " + b"a" * (31 << 10) + b"\r\n\r\n"
    assert statuses(open_node.exchange(*[long] * 3, last)) == [200] * 4
    assert statuses(open_node.exchange(good * 200))[:1] == [200]


def test_an_offer_of_another_protocol_is_passed_over(open_node: Any) -> None:
    offer = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert statuses(open_node.exchange(offer + SMUGGLED)) == [200]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"parameters":' * 50 + b"1" + b"}" * 50,
        b'{"parameters": {"app": {"specific": ' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}}}",
        b'{"parameters": {"app": {"level": 1e999}}}',
        b'{"parameters": {"app": {"level": NaN}}}',
        b'{"parameters": {"app": {"level": ' + b"9" * 5000 + b"}}}",
    ],
)
def test_json_no_later_reader_could_take(open_node: Any, body: bytes) -> None:
    for path in ("/v1.0/configuration/", "/v1.0/process/", "/v2/lease"):
        method = "PUT" if path == "/v2/lease" else "POST"
        answer = open_node.request(method, path, body, {"Content-Type": "application/json"})
        # A lease passes over names it does not know, whatever they hold.
        assert (200 if path == "/v2/lease" else 400) <= answer.status < 500, path


def test_a_long_json_body(open_node: Any) -> None:
    body = b'{"owner_pid": null, "x": "' + b"a" * (2 << 20) + b'"}'
    for method, path in (("PUT", "/v2/lease"), ("POST", "/v1.0/configuration/")):
        answer = open_node.request(method, path, body, {"Content-Type": "application/json"})
        assert answer.status == 413, path
        assert answer.headers["Connection"] == "close"


def test_every_answer_has_the_security_fields(open_node: Any) -> None:
    for path in ("/", "/docs", "/docs/start.js", "/docs/swagger-ui.css", "/openapi.json", "/nothing", "/v2/functions"):
        headers = open_node.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert ("script-src 'self'" in headers["Content-Security-Policy"]) == (path == "/docs")
        assert headers["Cache-Control"] == ("no-cache" if path.startswith("/docs/") else "no-store")
    assert open_node.get("/nothing", Host="evil.example").headers["X-Content-Type-Options"] == "nosniff"


def test_a_body_nobody_reads_does_not_hold_the_connection(open_node: Any, tmp_path: Path) -> None:
    with socket.create_connection(open_node.address, 60) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nabc")
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        # The rest is passed over, and the connection serves the next request.
        connection.sendall(b"def" + b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
