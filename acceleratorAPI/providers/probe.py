"""What a provider asks a node: whether it answers, and how long its machine still lives."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from acceleratorAPI.protocol import paths
from acceleratorAPI.protocol.records import Lease

_LONGEST = 65536


def answers(url: str, fingerprint: str, *, path: str = "/", timeout_s: float = 5.0) -> bool:
    """Whether the node at ``url`` answers ``path`` without a failure of its own.

    Args:
        url: origin of the node.
        fingerprint: SHA-256 in hex of the certificate it must show; empty for plain HTTP.
        path: what is asked.
        timeout_s: for each step of the connection.
    """
    answer = _asked(url, fingerprint, path, {}, timeout_s)
    return answer is not None and answer[0] < 500


def lease_left_s(url: str, fingerprint: str, token: str) -> float | None:
    """How long the machine of a node still lives; ``None`` when the node does not tell."""
    answer = _asked(url, fingerprint, paths.LEASE, {"Authorization": f"Bearer {token}"}, 5.0)
    if answer is None or answer[0] != 200:
        return None
    try:
        return Lease.model_validate_json(answer[1]).seconds
    except ValueError:
        return None


def _asked(
    url: str, fingerprint: str, path: str, headers: Mapping[str, str], timeout_s: float
) -> tuple[int, bytes] | None:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if fingerprint:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=timeout_s, context=_any_tls()
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.connect()
        if isinstance(connection.sock, ssl.SSLSocket):
            shown = connection.sock.getpeercert(binary_form=True)
            # Before a byte of HTTP is sent: a token is only for the node it is of.
            if not hmac.compare_digest(hashlib.sha256(shown or b"").hexdigest(), fingerprint):
                return None
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read(_LONGEST)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _any_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
