"""The certificate of one instance: made by whoever makes the instance, who then trusts exactly this one.

No authority vouches for it and none need be trusted: the client knows its fingerprint before it connects.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from acceleratorAPI.errors import ConfigurationError
from acceleratorAPI.files import access_error

CERTIFICATE = "tls-cert.pem"
KEY = "tls-key.pem"

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# The fingerprint is what is checked; the dates are for other programs that are given the file to trust.
_VALID = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key, both PEM; ``fingerprint`` is the SHA-256 of the certificate in hex."""

    certificate: bytes
    key: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER form, 64 hexadecimal digits."""
        return fingerprint_of(self.certificate.decode("ascii"))

    def write(self, folder: Path) -> None:
        """Store both in ``folder``, readable by its owner alone.

        Raises:
            FileAccessError: they are there already, or cannot be written.
        """
        for name, text in ((CERTIFICATE, self.certificate), (KEY, self.key)):
            path = folder / name
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
                with open(descriptor, "wb") as file:
                    file.write(text)
            except OSError as error:
                raise access_error("write", path, error) from error


def make_certificate(names: Iterable[str] = ()) -> Certificate:
    """A new ECDSA P-256 key and its self-signed certificate, for loopback and these host names and addresses.

    Raises:
        ConfigurationError: a name is none a certificate can hold.
    """
    # Needed once in the life of an instance, and only of one that speaks TLS.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    alternatives: list[x509.GeneralName] = []
    for name in dict.fromkeys((*_LOOPBACK, *names)):
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            if not re.fullmatch(r"[0-9A-Za-z.\-*_]{1,253}", name):
                raise ConfigurationError(f"{name!r} is no host name or address a certificate can hold") from None
            alternatives.append(x509.DNSName(name))
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acceleratorAPI node")])
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificate(certificate.public_bytes(serialization.Encoding.PEM), secret)


def fingerprint_of(pem: str) -> str:
    """SHA-256 of a PEM certificate, 64 hexadecimal digits.

    Raises:
        ConfigurationError: it is no PEM certificate.
    """
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    except ValueError:
        raise ConfigurationError("this is no certificate in PEM form") from None
