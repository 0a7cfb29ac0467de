"""A client that logs in by SCRAM, to test the server's side; written from the RFC, and not from our server."""

import base64
import hashlib
import hmac
from dataclasses import dataclass

from federation.core.xmpp.sasl import Keys


@dataclass
class ScramClient:
    """Knows a password."""

    hash: str
    name: str
    password: str
    nonce: str = "fyko+d2lbbFgONRv9qkxdawL"
    gs2: str = "n,,"
    binding: bytes = b""

    @property
    def bare(self) -> str:
        return f"n={self.name},r={self.nonce}"

    def first(self) -> bytes:
        return (self.gs2 + self.bare).encode()

    def final(self, challenge: bytes) -> bytes:
        server_first = challenge.decode()
        fields = dict(part.split("=", 1) for part in server_first.split(","))
        self.salted = hashlib.pbkdf2_hmac(
            self.hash, self.password.encode(), base64.b64decode(fields["s"]), int(fields["i"])
        )
        bound = base64.b64encode(self.gs2.encode() + self.binding).decode()
        unproven = f"c={bound},r={fields['r']}"
        self.signed = f"{self.bare},{server_first},{unproven}".encode()
        client_key = hmac.digest(self.salted, b"Client Key", self.hash)
        signature = hmac.digest(hashlib.new(self.hash, client_key).digest(), self.signed, self.hash)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return f"{unproven},p={base64.b64encode(proof).decode()}".encode()

    def expects(self) -> bytes:
        """What the server must answer in the end."""
        server_key = hmac.digest(self.salted, b"Server Key", self.hash)
        return b"v=" + base64.b64encode(hmac.digest(server_key, self.signed, self.hash))


def keys_of(hash_name: str, password: str, salt: bytes, iterations: int) -> Keys:
    """Return what a server keeps of a password."""
    salted = hashlib.pbkdf2_hmac(hash_name, password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", hash_name)
    return Keys(
        salt, iterations, hashlib.new(hash_name, client_key).digest(), hmac.digest(salted, b"Server Key", hash_name)
    )
