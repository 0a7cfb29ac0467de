"""Reads and makes certificates. Loaded when that is needed, which is seldom: see `homeserver.xmpp.certificate`."""

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from homeserver.clock import Clock
from homeserver.config.certificates import begun, common_name, new_key, pem_of_certificate, pem_of_key
from homeserver.config.private_files import write_over


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
    private = new_key()
    name = common_name(names[0])
    built = (
        begun(name, name, private, clock.now_ms())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in _dns({*names, "localhost"})]), False)
        .sign(private, hashes.SHA256())
    )
    write_over(key, pem_of_key(private))
    write_over(certificate, pem_of_certificate(built))


def _dns(names: set[str]) -> list[str]:
    return sorted(name.encode("idna").decode() for name in names if not name.startswith("["))
