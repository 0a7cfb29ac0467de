"""Reads and makes certificates. Loaded when that is needed, which is seldom: see `homeserver.xmpp.certificate`."""

import datetime
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from homeserver.clock import Clock

VALID_DAYS = 3650


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


def make(certificate: Path, key: Path, names: Sequence[str], clock: Clock) -> None:
    """Write a new key, and a certificate for these names that it signs itself. Raises OSError."""
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
