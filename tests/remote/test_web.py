"""Reading and writing https: whole files, cuts, redirects, refusals, on a TLS server of this process."""

from __future__ import annotations

import contextlib
import io
import os
import random
import socket
import threading
from typing import Any

import pytest

from acceleratorAPI.errors import FileAccessError, InputError, JobCancelledError
from acceleratorAPI.remote import access
from acceleratorAPI.remote import web as transport
from acceleratorAPI.remote.breaker import Breaker
from acceleratorAPI.remote.names import parse

DATA = random.Random(5).randbytes(3_000_001)


def read(url: str, breaker: Breaker | None = None, block: int = 1 << 20) -> bytes:
    with contextlib.closing(access.open_source(parse(url), breaker=breaker)) as reader:
        found = b""
        while part := reader.read(block):
            found += part
        return found


@pytest.mark.parametrize("size", [0, 1, 65_536, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_001])
@pytest.mark.parametrize("how", [{}, {"chunked": True}, {"length": False}])
def test_whole_files(web: Any, size: int, how: dict[str, Any]) -> None:
    assert read(web.page("/file", DATA[:size], **how)) == DATA[:size]


def test_the_size_is_known_when_the_server_tells(web: Any) -> None:
    for how, known in ({}, 100), ({"chunked": True}, None), ({"length": False}, None):
        with contextlib.closing(access.open_source(parse(web.page("/file", DATA[:100], **how)))) as reader:
            assert reader.size_bytes == known


@pytest.mark.parametrize("chunked", [False, True])
def test_cuts_are_survived_with_a_strong_etag(web: Any, chunked: bool) -> None:
    cuts = [0, 1, 70_000, 0, 0, 1_500_000, 1]
    url = web.page("/file", DATA, cuts=list(cuts), chunked=chunked)
    assert read(url) == DATA
    assert len(web.requests) == len(cuts) + 1
    assert all("If-Range" in headers for _, _, headers in web.requests[2:])


def test_a_short_answer_is_a_cut_whatever_says_goodbye(web: Any) -> None:
    url = web.page("/file", DATA, cuts=[1000], etag=None)
    with pytest.raises(FileAccessError, match="after 1000 bytes, and the server names no version"):
        read(url)


@pytest.mark.parametrize("how", [{"etag": None}, {"etag": 'W/"v1"'}, {"headers": {"Accept-Ranges": "none"}}])
def test_without_a_version_to_go_on_with_a_cut_is_an_error(web: Any, how: dict[str, Any]) -> None:
    with pytest.raises(FileAccessError, match="names no version"):
        read(web.page("/file", DATA, cuts=[1_000_000], **how))


@pytest.mark.parametrize("how", [{"etag_later": '"v2"'}, {"ranges": False}])
def test_a_file_that_changes_is_an_error(web: Any, how: dict[str, Any]) -> None:
    with pytest.raises(FileAccessError, match="changed while it was read"):
        read(web.page("/file", DATA, cuts=[1_000_000], **how))


def test_a_server_that_never_goes_on_is_given_up(web: Any) -> None:
    for how in {"cuts": [10, *[0] * 20]}, {"statuses": [503] * 20}:
        with pytest.raises(FileAccessError, match=f"{transport.TRIES} times"):
            read(web.page("/file", DATA, **how))
    assert len(web.requests) == 2 * transport.TRIES


def test_a_busy_server_is_asked_again(web: Any) -> None:
    assert read(web.page("/file", DATA[:10], statuses=[503, 429, 500, 408])) == DATA[:10]


@pytest.mark.parametrize(
    ("status", "words"), [(401, "pre-signed"), (403, "signature"), (404, "no such file"), (410, "410")]
)
def test_refusals(web: Any, status: int, words: str) -> None:
    url = web.page("/file", statuses=[status] * 9)
    with pytest.raises(FileAccessError, match=words):
        read(url)
    with pytest.raises(FileAccessError, match=words):
        transport.put(parse(url), io.BytesIO(b"x"), 1, transport.Direct())
    assert len(web.requests) == 2


def test_redirects_are_followed_a_few_times(web: Any) -> None:
    web.page("/file", DATA)
    web.page("/a", location="b?x=1#part")
    web.page("/b", location=f"{web.origin}/file")
    assert read(web.origin + "/a") == DATA
    web.page("/loop", location="/loop")
    with pytest.raises(FileAccessError, match="more than 5 redirects"):
        read(web.origin + "/loop")


@pytest.mark.parametrize(
    "location", ["http://localhost/x", "ftp://localhost/x", "file:///etc/passwd", "//u:p@localhost/", ""]
)
def test_redirects_to_something_else_are_not(web: Any, location: str) -> None:
    with pytest.raises(FileAccessError, match="redirects"):
        read(web.page("/file", location=location))


def test_nothing_but_what_the_file_needs_is_sent(web: Any) -> None:
    read(web.page("/file", DATA[:1]) + "?X-Amz-Signature=abc%2Fdef&x=a+b")
    method, path, headers = web.requests[0]
    assert (method, path) == ("GET", "/file?X-Amz-Signature=abc%2Fdef&x=a+b")
    assert headers == {
        "Host": f"localhost:{web.port}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "User-Agent": "acceleratorAPI",
    }


def test_an_untrusted_certificate_is_refused_at_once(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    transport._tls.cache_clear()
    with pytest.raises(FileAccessError, match="certificate is not trusted"):
        read(web.page("/file", DATA))
    assert web.requests == []


def test_put_sends_the_whole_or_nothing(web: Any) -> None:
    for size in 0, 1, 3_000_001:
        transport.put(parse(web.page("/out") + "?sig=1"), io.BytesIO(DATA[:size]), size, transport.Direct())
        assert web.stored["/out"] == DATA[:size]


def test_a_cut_put_is_sent_again(web: Any) -> None:
    url = web.page("/out", cuts=[0, 1_000_000], statuses=[503])
    transport.put(parse(url), io.BytesIO(DATA), len(DATA), transport.Direct())
    assert web.stored["/out"] == DATA
    assert len(web.requests) == 4


def test_put_follows_no_redirect(web: Any) -> None:
    web.page("/other")
    with pytest.raises(FileAccessError, match="name the final address"):
        transport.put(parse(web.page("/out", location="/other")), io.BytesIO(DATA), len(DATA), transport.Direct())
    assert web.stored == {}


def test_writing_a_stream_that_fails_writes_nothing(web: Any) -> None:
    url = parse(web.page("/out"))

    def fail() -> None:
        with access.replacing(url) as target:
            target.write(DATA)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert web.requests == []
    with access.replacing(url) as target:
        target.write(DATA)
        target.write(DATA)
    assert web.stored["/out"] == DATA * 2


@pytest.mark.parametrize("verb", ["read", "put"])
def test_a_breaker_ends_a_silent_transfer_at_once(web: Any, verb: str) -> None:
    hang = threading.Event()
    url = web.page("/file", DATA, cuts=[1000] if verb == "read" else [], hang=hang)
    breaker = Breaker()
    opener = threading.Timer(0.3, breaker.open)
    opener.start()

    def transfer() -> None:
        if verb == "read":
            read(url, breaker)
        else:
            transport.put(parse(url), io.BytesIO(DATA), len(DATA), transport.Direct(), breaker)

    with pytest.raises(JobCancelledError):
        transfer()
    hang.set()
    opener.join()
    assert len(web.requests) == 1


def test_silence_is_a_cut(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "IDLE_S", 0.3)
    hang = threading.Event()
    web.page("/file", DATA, cuts=[1000], hang=hang)
    try:
        assert read(web.origin + "/file") == DATA
    finally:
        hang.set()


@pytest.mark.parametrize("etag", [None, '"v1"'])
def test_a_drip_is_a_cut(web: Any, monkeypatch: pytest.MonkeyPatch, etag: str | None) -> None:
    """A body that is never silent and never comes: the pace decides, and goes on only so many times."""
    monkeypatch.setattr(transport, "PACE_S", 0.2)
    monkeypatch.setattr(transport, "SLOWEST_BYTES_S", 1 << 30)
    clock = iter(range(10**9))
    monkeypatch.setattr(transport.time, "monotonic", lambda: float(next(clock)))
    with pytest.raises(FileAccessError, match="sends fewer than"):
        read(web.page("/file", DATA, etag=etag))
    assert len(web.requests) == (1 if etag is None else transport.TRIES)


def test_a_dripping_head_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HEAD_S", 0.3)
    monkeypatch.setattr(transport, "TRIES", 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not stop.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(FileAccessError, match="1 times"):
            read(f"http://127.0.0.1:{listener.getsockname()[1]}/x")
        stop.set()
        thread.join()


def test_plain_http_without_a_length_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(FileAccessError, match="no length"):
            read(f"http://127.0.0.1:{listener.getsockname()[1]}/x")
        thread.join()


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_jitter", lambda _: 0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FileAccessError, match="Connection refused"):
        read(f"https://localhost:{port}/x?token=canary")


def test_an_ipv6_host_keeps_its_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(parse("https://[::1]:8443/x?y")) == "https://[::1]:8443/x?y"
    with pytest.raises(InputError):
        parse("https://::1/x")
