"""Key documents: with which keys a server signs, and until when each of them is good.

https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys
https://spec.matrix.org/v1.19/rooms/v5/#signing-key-validity-period

A server says by its document which keys it uses now (`verify_keys`), which it used before (`old_verify_keys`), and
until when that may be believed. Requests must be signed with a key of the newest document, events with one that was
good when they were sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from federation.core import unpadded_base64
from federation.core.canonical_json import check_strict
from federation.core.errors import BadJson, BadSignature
from federation.core.ids import ServerName
from federation.core.signing import ALGORITHM, SigningKey, key_ids_of, sign_json, verify_json

LONGEST_MS = 7 * 24 * 60 * 60 * 1000
"""For how long a document is believed at most, whatever it says: one that an attacker published runs out too."""
MOST_KEYS = 64
"""More keys than any server has; a document with more is refused."""

_PUBLIC_KEY_BYTES = 32
_MOST_NAME_CHARS = 255
_LAST_TS = 2**53 - 1


@dataclass(frozen=True, slots=True)
class RetiredKey:
    """A key of ours that signs nothing any more."""

    key_id: str
    public_key: bytes
    expired_ts: int
    """When it was used for the last time, in milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class ServerKey:
    """A public key of a server, as its newest document that names the key tells of it."""

    key_id: str
    public_key: bytes
    valid_until_ts: int
    """The last moment at which it is good: when its document runs out, or when it was retired."""
    current: bool
    """Whether the server's newest document has it among the keys in use."""

    def signs_events_at(self, ts: int | None) -> bool:
        """Return whether it is good for an event of that time; None is any time, as before room version 5."""
        return ts is None or ts <= self.valid_until_ts

    def signs_requests_at(self, now_ms: int) -> bool:
        """Return whether it is good for what is no event, now."""
        return self.current and now_ms <= self.valid_until_ts


@dataclass(frozen=True, slots=True)
class KeyDocument:
    """A key document that its server has signed."""

    server: ServerName
    keys: Mapping[str, ServerKey]
    """All keys of an algorithm that we know, by key identifier; retired ones too."""
    valid_until_ts: int
    """When to ask anew; at most `LONGEST_MS` after it was read."""
    fields: Mapping[str, Any]
    """The whole document, as it was signed."""


def make(
    server: ServerName, keys: Sequence[SigningKey], retired: Sequence[RetiredKey], valid_until_ts: int
) -> dict[str, Any]:
    """Return the document of a server that signs with `keys` and has signed with those that are retired."""
    document: dict[str, Any] = {
        "server_name": server,
        "verify_keys": {key.key_id: {"key": unpadded_base64.encode(key.public_key)} for key in keys},
        "old_verify_keys": {
            key.key_id: {"key": unpadded_base64.encode(key.public_key), "expired_ts": key.expired_ts} for key in retired
        },
        "valid_until_ts": valid_until_ts,
    }
    for key in keys:
        document = sign_json(document, server, key)
    return document


def read(fields: Mapping[str, Any], server: ServerName, now_ms: int) -> KeyDocument:
    """Return the document of `server` in `fields`, which came now.

    Raises `BadJson` if it is not of that form, or another server's; `BadSignature` unless one of the keys that it
    says are in use has signed it, and none of them wrongly.
    """
    check_strict(fields)
    if fields.get("server_name") != server:
        raise BadJson(f"not the key document of {server}")
    valid_until_ts = min(_timestamp(fields, "valid_until_ts"), now_ms + LONGEST_MS)
    in_use = _keys(fields, "verify_keys")
    keys = {
        key_id: ServerKey(key_id, _public_key(entry), min(_timestamp(entry, "expired_ts"), now_ms), current=False)
        for key_id, entry in _keys(fields, "old_verify_keys").items()
    }
    for key_id, entry in in_use.items():
        keys[key_id] = ServerKey(key_id, _public_key(entry), valid_until_ts, current=True)
    if len(keys) > MOST_KEYS:
        raise BadJson(f"a key document with more than {MOST_KEYS} keys")
    signers = [key_id for key_id in key_ids_of(fields, server) if key_id in in_use]
    if not signers:
        raise BadSignature(f"{server} has not signed its key document with a key that it says is in use")
    for key_id in signers:
        verify_json(fields, server, key_id, keys[key_id].public_key)
    return KeyDocument(server, keys, valid_until_ts, fields)


def _keys(fields: Mapping[str, Any], name: str) -> dict[str, Mapping[str, Any]]:
    """Return the entries for keys of an algorithm that we know; others are no fault of the document."""
    entries = fields.get(name, {})
    if not isinstance(entries, dict):
        raise BadJson(f"{name} is not an object")
    known = {key_id: entry for key_id, entry in entries.items() if key_id.startswith(f"{ALGORITHM}:")}
    for key_id, entry in known.items():
        if len(key_id) > _MOST_NAME_CHARS or "\0" in key_id or not isinstance(entry, dict):
            raise BadJson(f"{name} has an entry that is none")
    return known


def _public_key(entry: Mapping[str, Any]) -> bytes:
    text = entry.get("key")
    if not isinstance(text, str):
        raise BadJson("a key is not text")
    key = unpadded_base64.decode(text)
    if len(key) != _PUBLIC_KEY_BYTES:
        raise BadJson(f"a key of {ALGORITHM} has {_PUBLIC_KEY_BYTES} bytes")
    return key


def _timestamp(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if type(value) is not int or not 0 <= value <= _LAST_TS:
        raise BadJson(f"{name} is not a time")
    return value


def merge(known: Mapping[str, ServerKey], document: KeyDocument, *, first_hand: bool) -> dict[str, ServerKey]:
    """Return what is known of a server's keys after a document has come.

    First-hand is what the server itself has said: what it no longer names is no longer in use. What others say that
    it said may be old or, worse, made up: it adds keys, and prolongs them, and changes nothing else.
    """
    if first_hand:
        left = {key_id: replace(key, current=False) for key_id, key in known.items()}
        return {**left, **document.keys}
    merged = dict(known)
    newest = max((key.valid_until_ts for key in known.values() if key.current), default=0)
    for key_id, key in document.keys.items():
        there = known.get(key_id)
        if there is None:
            merged[key_id] = replace(key, current=key.current and key.valid_until_ts > newest)
        elif there.current and key.current and there.public_key == key.public_key:
            merged[key_id] = max(there, key, key=lambda one: one.valid_until_ts)
    return merged
