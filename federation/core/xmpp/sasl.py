"""Logins on the server's side: PLAIN and the SCRAM family, with and without channel binding.

Sources: https://www.rfc-editor.org/rfc/rfc4616 (PLAIN), https://www.rfc-editor.org/rfc/rfc5802 and
https://www.rfc-editor.org/rfc/rfc7677 (SCRAM), https://www.rfc-editor.org/rfc/rfc5929#section-4 (tls-server-end-point),
https://xmpp.org/extensions/xep-0440.html (what a server binds to)
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

from federation.core.xmpp.errors import SaslCondition, SaslError

PLAIN = "PLAIN"
HASHES = {"SCRAM-SHA-512": "sha512", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
"""The mechanisms by the name of their hash, strongest first."""
PLUS = "-PLUS"
END_POINT = "tls-server-end-point"
DECOY_SALT_BYTES = 16

# gs2-header, then username and nonce: https://www.rfc-editor.org/rfc/rfc5802#section-7
_first = re.compile(
    r"(?P<gs2>(?P<flag>n|y|p=(?P<binding>[A-Za-z0-9.-]+)),(?:a=(?P<authzid>[^,]*))?,)"
    r"(?P<bare>n=(?P<name>[^,]*),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,.*)?)",
    re.DOTALL,
).fullmatch
_final = re.compile(
    r"(?P<unproven>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,.*)?),p=(?P<proof>[A-Za-z0-9+/=]+)",
    re.DOTALL,
).fullmatch


@dataclass(frozen=True, slots=True)
class Keys:
    """What a server keeps of a password for one SCRAM mechanism."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """Who somebody says they are."""

    name: str
    authzid: str | None
    """In whose name they want to act; None for their own."""


def offered(end_point: bytes | None) -> Sequence[str]:
    """Return the mechanisms to offer, strongest first; those with channel binding only where there is one."""
    bound = [name + PLUS for name in HASHES] if end_point is not None else []
    return (*bound, *HASHES, PLAIN)


def read_plain(data: bytes) -> tuple[Claim, str]:
    """Return who logs in by PLAIN, and the password. Raises `SaslError`."""
    try:
        authzid, name, password = data.decode().split("\0")
    except ValueError as error:
        raise SaslError(SaslCondition.MALFORMED_REQUEST, "expected authzid NUL name NUL password") from error
    if not name or not password:
        raise SaslError(SaslCondition.NOT_AUTHORIZED, "name or password is empty")
    return Claim(name, authzid or None), password


def decoy(mechanism: str, name: str, secret: bytes, iterations: int) -> Keys:
    """Return keys for a user who has none; the same each time, so that nobody can tell them from real ones.

    The salt has the form of a real one: text of the URL-safe alphabet.
    """
    digest = hmac.digest(secret, f"{mechanism}\0{name}".encode(errors="surrogatepass"), "sha256")
    salt = base64.urlsafe_b64encode(digest[:DECOY_SALT_BYTES]).rstrip(b"=")
    # A proof that fits them would be a preimage of this hash.
    size = hashlib.new(HASHES[mechanism]).digest_size
    unknown = hmac.digest(secret, digest, "sha512")[:size]
    return Keys(salt, iterations, unknown, unknown)


class Scram:
    """One login by SCRAM. Call `begin`, then `challenge` with the user's keys, then `finish`."""

    def __init__(self, mechanism: str, nonce: str, end_point: bytes | None, *, plus_was_offered: bool) -> None:
        """Take a mechanism of `offered`, a nonce nobody can guess, and what the TLS channel is bound to."""
        self.name = mechanism.removesuffix(PLUS)
        """The mechanism whose keys are wanted."""
        self._binds = mechanism.endswith(PLUS)
        self._hash = HASHES[self.name]
        self._nonce = nonce
        self._end_point = end_point
        self._plus_was_offered = plus_was_offered
        self._gs2 = ""
        self._client_first = ""
        self._server_first = ""
        self._keys = Keys(b"", 0, b"", b"")

    def begin(self, data: bytes) -> Claim:
        """Read the client's first message; return who they say they are. Raises `SaslError`."""
        found = _first(_text(data))
        if found is None:
            raise SaslError(SaslCondition.MALFORMED_REQUEST, "the first message is not of SCRAM's form")
        # https://www.rfc-editor.org/rfc/rfc5802#section-6
        if found["binding"] is not None:
            if not self._binds or found["binding"] != END_POINT:
                raise SaslError(SaslCondition.MALFORMED_REQUEST, f"the only channel binding here is {END_POINT}")
        elif self._binds:
            raise SaslError(SaslCondition.MALFORMED_REQUEST, "the mechanism wants channel binding")
        elif found["flag"] == "y" and self._plus_was_offered:
            # Somebody on the way has taken the mechanisms with channel binding out of what we offered.
            raise SaslError(SaslCondition.NOT_AUTHORIZED, "the offered mechanisms were tampered with")
        self._gs2, self._client_first = found["gs2"], found["bare"]
        self._nonce = found["nonce"] + self._nonce
        authzid = None if found["authzid"] is None else _name(found["authzid"])
        return Claim(_name(found["name"]), authzid or None)

    def challenge(self, keys: Keys) -> bytes:
        """Return the server's first message."""
        self._keys = keys
        salt = base64.b64encode(keys.salt).decode()
        self._server_first = f"r={self._nonce},s={salt},i={keys.iterations}"
        return self._server_first.encode()

    def finish(self, data: bytes) -> bytes:
        """Check the client's proof; return the server's last message. Raises `SaslError`."""
        found = _final(_text(data))
        if found is None:
            raise SaslError(SaslCondition.MALFORMED_REQUEST, "the last message is not of SCRAM's form")
        bound = self._gs2.encode() + (self._end_point or b"" if self._binds else b"")
        if not hmac.compare_digest(_decoded(found["binding"]), bound):
            raise SaslError(SaslCondition.NOT_AUTHORIZED, "the channel binding does not fit")
        if found["nonce"] != self._nonce:
            raise SaslError(SaslCondition.NOT_AUTHORIZED, "the nonce is another one")
        signed = ",".join((self._client_first, self._server_first, found["unproven"])).encode()
        signature = hmac.digest(self._keys.stored_key, signed, self._hash)
        proof = _decoded(found["proof"])
        if len(proof) != len(signature):
            raise SaslError(SaslCondition.NOT_AUTHORIZED, "the proof does not fit")
        client_key = bytes(one ^ other for one, other in zip(proof, signature, strict=True))
        if not hmac.compare_digest(hashlib.new(self._hash, client_key).digest(), self._keys.stored_key):
            raise SaslError(SaslCondition.NOT_AUTHORIZED, "the proof does not fit")
        return b"v=" + base64.b64encode(hmac.digest(self._keys.server_key, signed, self._hash))


def decode(text: str) -> bytes:
    """Return what a SASL element holds, `=` being nothing. Raises `SaslError`.

    https://www.rfc-editor.org/rfc/rfc6120#section-6.4.2
    """
    if text == "=":
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SaslError(SaslCondition.INCORRECT_ENCODING, "not base64") from error


def encode(data: bytes) -> str:
    """Return bytes as they stand in a SASL element."""
    return base64.b64encode(data).decode() or "="


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise SaslError(SaslCondition.MALFORMED_REQUEST, "not base64") from error


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise SaslError(SaslCondition.MALFORMED_REQUEST, "not UTF-8") from error


def _name(text: str) -> str:
    """Return a name whose commas and equal signs are escaped. Raises `SaslError`."""
    if re.search("=(?!2C|3D)", text):
        raise SaslError(SaslCondition.MALFORMED_REQUEST, "an equal sign is not escaped")
    return text.replace("=2C", ",").replace("=3D", "=")
