"""TLS between client and node: certificates made for one instance, trusted by fingerprint and by nothing else."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acceleratorAPI import Accelerator
from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.client.trust import Trust
from acceleratorAPI.errors import (
    AuthenticationError,
    ConfigurationError,
    FileAccessError,
    NodeError,
    NodeUnreachableError,
)
from acceleratorAPI.providers.certificates import Certificate, make_certificate


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Certificate]:
    folder = tmp_path_factory.mktemp("tls")
    made = make_certificate(["node.example", "192.0.2.7"])
    made.write(folder)
    return folder, made


def serve(state: Path, *options: str) -> tuple[subprocess.Popen[bytes], str]:
    command = [sys.executable, "-m", "acceleratorAPI.node", "--port", "0", "--slots", "1", "--state", str(state)]
    process = subprocess.Popen([*command, *options], stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (state / "node.json").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process, json.loads((state / "node.json").read_text())["url"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, certificate: Any) -> Iterator[tuple[str, str]]:
    """URL and token of a node that speaks TLS."""
    state = tmp_path_factory.mktemp("node") / "state"
    folder = certificate[0]
    process, url = serve(state, "--tls-cert", f"{folder}/tls-cert.pem", "--tls-key", f"{folder}/tls-key.pem")
    yield url, (state / "token").read_text().strip()
    process.kill()
    process.wait()


def test_the_certificate(certificate: Any) -> None:
    folder, made = certificate
    for name in ("tls-cert.pem", "tls-key.pem"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    der = ssl.PEM_cert_to_DER_cert((folder / "tls-cert.pem").read_text())
    assert made.fingerprint == hashlib.sha256(der).hexdigest()
    assert "PRIVATE" not in repr(made)
    with pytest.raises(FileAccessError, match="File exists"):
        made.write(folder)
    with pytest.raises(ConfigurationError, match="no host name"):
        make_certificate(["a b"])


def test_the_right_fingerprint_and_no_other(node: Any, certificate: Any) -> None:
    url, token = node
    right = certificate[1].fingerprint
    assert url.startswith("https://")
    shown = ":".join(right[at : at + 2] for at in range(0, 64, 2)).upper()
    for fingerprint in (right, shown):
        assert "cast_gzip" in NodeClient(url, token, trust=Trust(fingerprint)).catalogue()
    for wrong in (make_certificate().fingerprint, "0" * 64, ""):
        client = NodeClient(url, token, trust=Trust(wrong))
        with pytest.raises(NodeError, match="not trusted") as caught:
            client.catalogue()
        assert token not in str(caught.value)
    with pytest.raises(ConfigurationError, match="64 hexadecimal"):
        Trust("abc")
    with pytest.raises(ConfigurationError, match="use https"):
        NodeClient(url.replace("https", "http"), token, trust=Trust(right))


def test_nothing_is_sent_to_the_wrong_node(certificate: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[0] / "tls-cert.pem", certificate[0] / "tls-key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        client = subprocess.Popen(
            [sys.executable, "-c", f"""
from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.client.trust import Trust
try:
    NodeClient({url!r}, "canary", trust=Trust("0" * 64)).catalogue()
except Exception as error:
    print(type(error).__name__)
"""],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True, suppress_ragged_eofs=True) as connection:
            assert connection.recv(100) == b""
        assert client.communicate()[0].strip() == b"NodeError"


def test_old_versions_are_refused(node: Any) -> None:
    host, port = node[0].removeprefix("https://").split(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain) as connection:
        assert connection.version() in ("TLSv1.2", "TLSv1.3")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, OSError)), socket.create_connection((host, int(port))) as plain:
        context.wrap_socket(plain)


def test_another_program_may_trust_the_file(node: Any, certificate: Any) -> None:
    host, port = node[0].removeprefix("https://").split(":")
    context = ssl.create_default_context(cafile=str(certificate[0] / "tls-cert.pem"))
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=60)
    connection.request("GET", "/health/live")
    assert connection.getresponse().status == 200
    connection.close()


def test_a_handshake_that_never_comes_is_ended(node: Any) -> None:
    host, port = node[0].removeprefix("https://").split(":")
    began = time.monotonic()
    with socket.create_connection((host, int(port)), 60) as connection:
        assert connection.recv(1) == b""
    assert time.monotonic() - began < 40


def test_clients_that_must_show_a_certificate(tmp_path: Path, certificate: Any) -> None:
    folder, made = certificate
    known = tmp_path / "known"
    known.mkdir()
    client = make_certificate()
    client.write(known)
    (tmp_path / "both.pem").write_bytes(client.certificate + client.key)
    state = tmp_path / "state"
    tls = ["--tls-cert", f"{folder}/tls-cert.pem", "--tls-key", f"{folder}/tls-key.pem"]
    process, url = serve(state, *tls, "--tls-client-ca", f"{known}/tls-cert.pem")
    try:
        token = (state / "token").read_text().strip()
        trust = Trust(made.fingerprint, str(tmp_path / "both.pem"))
        assert NodeClient(url, token, trust=trust).catalogue()
        with pytest.raises(AuthenticationError):
            NodeClient(url, "wrong", trust=trust).catalogue()
        with pytest.raises(NodeError):
            NodeClient(url, token, trust=Trust(made.fingerprint)).catalogue()
        other = make_certificate()
        (tmp_path / "other.pem").write_bytes(other.certificate + other.key)
        with pytest.raises(NodeError):
            NodeClient(url, token, trust=Trust(made.fingerprint, str(tmp_path / "other.pem"))).catalogue()
    finally:
        process.kill()
        process.wait()


def test_a_local_node_that_speaks_tls(tmp_path: Path, home: Path) -> None:
    conf = tmp_path / "accelerator.conf"
    conf.write_text("[general]\ntls = yes\n")
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"hello" * 1000)
    with Accelerator("cast_gzip", config_file=conf) as accelerator:
        accelerator.start()
        assert accelerator.url.startswith("https://")
        accelerator.process(source, target)
        (folder,) = (home / "state" / "acceleratorapi" / "instances").iterdir()
        assert (folder / "tls-key.pem").stat().st_mode & 0o777 == 0o600
        fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert((folder / "tls-cert.pem").read_text())).hexdigest()
        key = (folder / "tls-key.pem").read_text().splitlines()[1]
        assert key not in (folder / "node.log").read_text()
        # The same node, by its address alone.
        with pytest.raises(NodeError, match="not trusted"):
            NodeClient(accelerator.url).status()
        with pytest.raises(AuthenticationError):
            NodeClient(accelerator.url, trust=Trust(fingerprint)).status()
    assert target.stat().st_size
    assert not folder.exists()


def test_a_node_by_its_address_and_fingerprint(
    node: Any, certificate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, token = node
    monkeypatch.setenv("ACCELERATOR_NODE_TOKEN", token)
    monkeypatch.setenv("ACCELERATOR_NODE_FINGERPRINT", certificate[1].fingerprint)
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(os.urandom(3 << 20))
    for address in (url, url.removeprefix("https://")):
        with Accelerator("cast_gzip", instance_ip=address) as accelerator:
            accelerator.start()
            accelerator.process(source, target)
    assert gzip.decompress(target.read_bytes()) == source.read_bytes()
    monkeypatch.setenv("ACCELERATOR_NODE_FINGERPRINT", "0" * 64)
    with pytest.raises(NodeError, match="node_fingerprint"):
        Accelerator("cast_gzip", instance_ip=url).start()


def test_the_token_goes_to_its_node_alone() -> None:
    """A node that names another machine's URL in an answer does not make the client tell it the token."""
    heads: list[bytes] = []

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            heads.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 200 OK\r\nUpload-Offset: 0\r\nUpload-Length: 0\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for own, asked in ((port, f"http://127.0.0.1:{port}/x"), (9, f"http://127.0.0.1:{port}/x")):
            thread = threading.Thread(target=answer, args=(listener,))
            thread.start()
            client = NodeClient(f"http://127.0.0.1:{own}", "canary")
            assert client.upload_state(asked) == (0, True, None)
            client.close()
            thread.join()
    assert b"canary" in heads[0]
    assert b"canary" not in heads[1]


def test_a_node_that_ends_in_a_handshake_is_unreachable_and_not_distrusted(certificate: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    # What the client has sent is read: else closing would be a reset.
                    connection.recv(1 << 16)
                    connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        address = f"https://127.0.0.1:{server.getsockname()[1]}"
        client = NodeClient(address, trust=Trust(certificate[1].fingerprint))
        with pytest.raises(NodeUnreachableError, match="broke off"):
            client.status()
        client.close()
        server.shutdown(socket.SHUT_RDWR)
