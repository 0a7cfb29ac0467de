"""Ed25519 keys; signing and verifying JSON objects and events.

https://spec.matrix.org/v1.19/appendices/#signing-json
https://spec.matrix.org/v1.19/server-server-api/#signing-events
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nacl.signing
from nacl.bindings import crypto_sign_open
from nacl.exceptions import CryptoError

from federation.core import unpadded_base64
from federation.core.canonical_json import encode, encode_lenient
from federation.core.errors import BadJson, BadSignature, InvalidIdentifier
from federation.core.hashing import essential_bytes
from federation.core.ids import ServerName
from federation.core.room_versions import RoomVersion

ALGORITHM = "ed25519"

_key_name = re.compile("[A-Za-z0-9_]+").fullmatch
_NOT_SIGNED = frozenset({"signatures", "unsigned"})
_PUBLIC_KEY_BYTES = 32
_SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """A private key and its name. Its `repr` shows no secret."""

    key_id: str
    """The signing key identifier, `ed25519:name`."""
    _key: nacl.signing.SigningKey

    @classmethod
    def generate(cls, name: str) -> "SigningKey":
        """Return a new random key called `ed25519:name`."""
        return cls.from_seed(name, bytes(nacl.signing.SigningKey.generate()))

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> "SigningKey":
        """Return the key of a secret seed of 32 bytes; raise `InvalidIdentifier` or `BadJson`."""
        if _key_name(name) is None:
            raise InvalidIdentifier("the name of a key may only hold a-z, A-Z, 0-9 and _")
        if len(seed) != nacl.bindings.crypto_sign_SEEDBYTES:
            raise BadJson("a seed has 32 bytes")
        return cls(f"{ALGORITHM}:{name}", nacl.signing.SigningKey(seed))

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes."""
        return bytes(self._key.verify_key)

    def sign_bytes(self, message: bytes) -> bytes:
        """Return the signature of `message`, 64 bytes."""
        return self._key.sign(message).signature

    def serialise(self) -> str:
        """Return the line of a key file: `ed25519 <name> <seed in unpadded Base64>`. It is secret."""
        return f"{ALGORITHM} {self.key_id.partition(':')[2]} {unpadded_base64.encode(bytes(self._key))}\n"

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id!r})"


def parse_keys(text: str) -> tuple[SigningKey, ...]:
    """Return the keys of a key file, one a line; raise `InvalidIdentifier` or `BadJson` for a wrong line."""
    keys = []
    for line in text.splitlines():
        if not line.strip():
            continue
        parts = line.split()
        if len(parts) != 3 or parts[0] != ALGORITHM:
            raise BadJson("a line of a key file is `ed25519 <name> <seed>`")
        keys.append(SigningKey.from_seed(parts[1], unpadded_base64.decode(parts[2])))
    return tuple(keys)


def sign_json(obj: Mapping[str, Any], server_name: ServerName, key: SigningKey) -> dict[str, Any]:
    """Return a copy of `obj` with `server_name`'s signature beside those it has; raise `BadJson`."""
    return _with_signature(obj, server_name, key, encode(_signed_part(obj)))


def verify_json(obj: Mapping[str, Any], server_name: ServerName, key_id: str, public_key: bytes) -> None:
    """Raise `BadSignature` unless `server_name` signed `obj` with the given key."""
    try:
        message = encode_lenient(_signed_part(obj))
    except BadJson as error:
        raise BadSignature("what is signed is not JSON") from error
    verify_bytes(message, signature_of(obj, server_name, key_id), public_key)


def sign_event(
    fields: Mapping[str, Any], version: RoomVersion, server_name: ServerName, key: SigningKey
) -> dict[str, Any]:
    """Return a copy of an event, its hashes in place, with `server_name`'s signature beside those it has."""
    return _with_signature(fields, server_name, key, essential_bytes(fields, version))


def verify_event(
    fields: Mapping[str, Any], version: RoomVersion, server_name: ServerName, key_id: str, public_key: bytes
) -> None:
    """Raise `BadSignature` unless `server_name` signed the event, whole or redacted, with the given key."""
    signature = signature_of(fields, server_name, key_id)
    verify_bytes(essential_bytes(fields, version), signature, public_key)


def key_ids_of(obj: Mapping[str, Any], server_name: ServerName) -> tuple[str, ...]:
    """Return the keys, of an algorithm that we know, with which `server_name` claims to have signed."""
    signatures = obj.get("signatures")
    of_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    if not isinstance(of_server, dict):
        return ()
    return tuple(key_id for key_id in of_server if key_id.startswith(f"{ALGORITHM}:"))


def signature_of(obj: Mapping[str, Any], server_name: ServerName, key_id: str) -> bytes:
    """Return a signature that `obj` carries; raise `BadSignature` if it has none or not Base64."""
    signatures = obj.get("signatures")
    of_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    signature = of_server.get(key_id) if isinstance(of_server, dict) else None
    if not isinstance(signature, str):
        raise BadSignature(f"not signed by {server_name} with {key_id}")
    try:
        return unpadded_base64.decode(signature)
    except BadJson as error:
        raise BadSignature(f"the signature of {server_name} is not Base64") from error


def verify_bytes(message: bytes, signature: bytes, public_key: bytes) -> None:
    """Raise `BadSignature` unless `signature` is that of `message` under an Ed25519 public key."""
    if len(signature) != _SIGNATURE_BYTES or len(public_key) != _PUBLIC_KEY_BYTES:
        raise BadSignature("not an Ed25519 signature or key")
    try:
        crypto_sign_open(signature + message, public_key)
    except CryptoError as error:
        raise BadSignature("the signature is wrong") from error


def _signed_part(obj: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key not in _NOT_SIGNED}


def _with_signature(obj: Mapping[str, Any], server_name: ServerName, key: SigningKey, message: bytes) -> dict[str, Any]:
    signature = unpadded_base64.encode(key.sign_bytes(message))
    signatures = dict(obj.get("signatures", {}))
    signatures[server_name] = {**signatures.get(server_name, {}), key.key_id: signature}
    return {**obj, "signatures": signatures}
