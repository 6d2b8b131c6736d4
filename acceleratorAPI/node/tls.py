"""The node's side of TLS: 1.2 or newer, with a certificate it was handed."""

from __future__ import annotations

import hashlib
import os
import ssl
from pathlib import Path

from acceleratorAPI.errors import ConfigurationError


def server_context(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """What the listener speaks TLS with.

    Args:
        certificate: PEM, with the chain if there is one.
        key: PEM, not readable by everybody.
        client_ca: when given, clients must show a certificate that this PEM file vouches for.

    Raises:
        ConfigurationError: a file cannot be read or does not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        if os.stat(key).st_mode & 0o007:
            raise ConfigurationError(f"--tls-key {str(key)!r} may be read by everybody: chmod 600 it")
        # A password would be asked for on a terminal that need not be there.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"--tls-cert {str(certificate)!r} with --tls-key {str(key)!r} cannot be used: {_why(error)}"
        ) from error
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"--tls-client-ca {str(client_ca)!r} cannot be used: {_why(error)}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def fingerprint_of(certificate: Path) -> str:
    """SHA-256, in hex, of the certificate that stands first in a PEM file: the one clients are shown."""
    first = certificate.read_text("ascii").partition(ssl.PEM_HEADER)[2].partition(ssl.PEM_FOOTER)[0]
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(f"{ssl.PEM_HEADER}{first}{ssl.PEM_FOOTER}")).hexdigest()


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{error.reason or 'not PEM'} (PEM files that belong together are needed)"
    return getattr(error, "strerror", None) or str(error)
