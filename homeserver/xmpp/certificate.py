"""What XMPP clients see of us in TLS: the operator's certificate, or one made here where there is none.

A login can be bound to it (`tls-server-end-point`): https://www.rfc-editor.org/rfc/rfc5929#section-4.1
"""

import datetime
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from homeserver.clock import Clock
from homeserver.http.tls import ShownCertificate
from homeserver.xmpp.addresses import Addresses

log = structlog.get_logger()

ALPN = "xmpp-client"
"""https://xmpp.org/extensions/xep-0368.html"""
VALID_DAYS = 3650


@dataclass(slots=True)
class Certificate:
    """The certificate that is shown, renewed without a restart, and what logins over it are bound to."""

    shown: ShownCertificate
    _bound: bytes | None = None
    _stamp: float = -1.0

    @property
    def context(self) -> ssl.SSLContext:
        """What a new connection takes."""
        return self.shown.context

    def end_point(self) -> bytes | None:
        """Return what a login over a connection that begins now is bound to; None if there is no such thing."""
        try:
            stamp = os.stat(self.shown.certificate).st_mtime
            if stamp != self._stamp:
                self._bound = end_point_of(Path(self.shown.certificate).read_bytes())
                self._stamp = stamp
        except (OSError, ValueError):
            # The files are being renewed; the old certificate is shown until they can be used.
            return self._bound
        return self._bound

    async def watch(self, clock: Clock) -> None:
        """Look now and then, until cancelled, whether the files have changed."""
        await self.shown.watch(clock)


def end_point_of(pem: bytes) -> bytes | None:
    """Return the hash of a chain's first certificate that logins are bound to. Raises ValueError.

    Its own hash function is used, SHA-256 in the stead of weak ones; a certificate signed without one has none.
    """
    certificate = x509.load_pem_x509_certificates(pem)[0]
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    strong = hashes.SHA256() if isinstance(algorithm, hashes.MD5 | hashes.SHA1) else algorithm
    return certificate.fingerprint(strong)


def open_certificate(certificate: str, key: str, directory: Path, addresses: Addresses, clock: Clock) -> Certificate:
    """Return what to show: the configured files, or a self-signed certificate kept in `directory`. Raises OSError."""
    if not certificate:
        made, made_key = directory / "xmpp-self-signed.pem", directory / "xmpp-self-signed.key"
        if not (made.exists() and made_key.exists()):
            _make(made, made_key, [addresses.domain, addresses.rooms, addresses.gateway, addresses.uploads], clock)
            log.warning("xmpp_certificate_self_signed", certificate=str(made), hint="set xmpp.tls_certificate")
        certificate, key = str(made), str(made_key)
    return Certificate(ShownCertificate(certificate, key, (ALPN,)))


def _make(certificate: Path, key: Path, names: Sequence[str], clock: Clock) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.fromtimestamp(clock.now_ms() // 1000, datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in _dns({*names, "localhost"})]), False)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(key, pem)
    _write(certificate, built.public_bytes(serialization.Encoding.PEM))


def _dns(names: set[str]) -> list[str]:
    return sorted(name.encode("idna").decode() for name in names if not name.startswith("["))


def _write(path: Path, content: bytes) -> None:
    # Whole or not at all, and for nobody else to read.
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    beside.replace(path)
