"""Whom a client takes for its node when the node speaks TLS."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass

from acceleratorAPI.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Trust:
    """One certificate by its fingerprint, or whatever this machine's authorities vouch for.

    A fingerprint is compared by urllib3, in constant time, with the certificate of the handshake's peer before a byte
    of HTTP is sent. It needs neither names nor dates nor the certificate itself to be right and at hand, so one way
    serves the nodes we make and those we only know an address of; a context that holds the one certificate would
    check the same key, and fail as well for a node reached by a name it was not made for.

    Attributes:
        fingerprint: SHA-256 of the certificate in hex, colons allowed; empty for the authorities.
        client_certificate: PEM file with our own certificate and key, for a node that asks for one.
    """

    fingerprint: str = ""
    client_certificate: str | None = None

    def __post_init__(self) -> None:
        plain = self.fingerprint.replace(":", "").strip().lower()
        if plain and not re.fullmatch("[0-9a-f]{64}", plain):
            raise ConfigurationError(
                f"[general] node_fingerprint = {self.fingerprint!r}: use the 64 hexadecimal digits of the"
                " certificate's SHA-256"
            )
        object.__setattr__(self, "fingerprint", plain)

    def check(self, url: str) -> None:
        """See that ``url`` lets this trust be checked at all.

        Raises:
            ConfigurationError: there is a fingerprint, but no TLS.
        """
        if self.fingerprint and not url.lower().startswith("https://"):
            raise ConfigurationError(
                f"{url}: there is no certificate to compare with [general] node_fingerprint; use https://"
            )

    def context(self) -> ssl.SSLContext:
        """The TLS settings of connections.

        Raises:
            ConfigurationError: the client certificate cannot be used.
        """
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.fingerprint:
            # The fingerprint says more than an authority could; see _PatientHTTPS, which insists on one of the two.
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if self.client_certificate:
            try:
                context.load_cert_chain(self.client_certificate, password=lambda: b"")
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    f"[general] client_certificate = {self.client_certificate!r} cannot be used: {error}"
                ) from error
        return context

    @property
    def hint(self) -> str:
        """The end of an error message: what to look at."""
        if self.fingerprint:
            return "another node answers there, or [general] node_fingerprint is not its certificate's"
        return "give its certificate's SHA-256 as [general] node_fingerprint, or a certificate this machine trusts"
