"""An authority of one's own, for servers in a closed network or on one machine: it makes the certificates by which
they know each other. Whoever else would trust it must be told to.
"""

import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from homeserver.config.certificates import begun, common_name, new_key, pem_of_certificate, pem_of_key
from homeserver.config.private_files import write_new, write_over


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority whose files are in a directory."""

    directory: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def at(cls, directory: Path, now_ms: int) -> "Authority":
        """Return the authority in a directory, which is made if there is none. Raises OSError or ValueError.

        Of several who make it at the same time all get the same one: key and certificate are one file, `ca.key`, and
        `ca.pem` is its public part.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = directory / "ca.key"
        if not file.exists():
            with suppress(FileExistsError):
                write_new(file, _made(now_ms))
        content = file.read_bytes()
        key = serialization.load_pem_private_key(content, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{file} is not a key that was made here")
        authority = cls(directory, x509.load_pem_x509_certificate(content), key)
        if not authority.file.exists():
            write_over(authority.file, pem_of_certificate(authority.certificate))
        return authority

    @property
    def file(self) -> Path:
        """The certificate that servers are to trust."""
        return self.directory / "ca.pem"

    def certify(self, host: str, directory: Path, now_ms: int) -> tuple[Path, Path]:
        """Make a key and a certificate for a host; return their files, certificate first. Raises OSError."""
        key = new_key()
        certificate = (
            begun(common_name(host), self.certificate.subject, key, now_ms)
            .add_extension(x509.SubjectAlternativeName([_general(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        file, key_file = directory / "tls.pem", directory / "tls.key"
        write_over(key_file, pem_of_key(key))
        write_over(file, pem_of_certificate(certificate))
        return file, key_file


def _made(now_ms: int) -> bytes:
    """Return a new authority's key and certificate."""
    key = new_key()
    name = common_name("Isthmus private authority")
    certificate = (
        begun(name, name, key, now_ms)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_signs_certificates(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return pem_of_key(key) + pem_of_certificate(certificate)


def _signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return x509.DNSName(host)
