"""The two hashes of an event, and the event ID.

https://spec.matrix.org/v1.19/server-server-api/#signing-events
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from federation.core import unpadded_base64
from federation.core.canonical_json import encode_lenient
from federation.core.errors import BadJson
from federation.core.events.redaction import redact
from federation.core.ids import EventID
from federation.core.room_versions import EventIdFormat, RoomVersion

_NOT_IN_CONTENT_HASH = frozenset({"unsigned", "signatures", "hashes"})


def content_hash(fields: Mapping[str, Any]) -> str:
    """Return the hash over the whole event, unpadded Base64, for `hashes.sha256`."""
    return unpadded_base64.encode(_content_digest(fields))


def has_valid_content_hash(fields: Mapping[str, Any]) -> bool:
    """Return whether `hashes.sha256` is the content hash; if not, the event is to be taken as redacted."""
    try:
        claimed = unpadded_base64.decode(fields["hashes"]["sha256"])
    except BadJson:
        return False
    return claimed == _content_digest(fields)


def _content_digest(fields: Mapping[str, Any]) -> bytes:
    hashed = {key: value for key, value in fields.items() if key not in _NOT_IN_CONTENT_HASH}
    return sha256(encode_lenient(hashed)).digest()


def essential_bytes(fields: Mapping[str, Any], version: RoomVersion) -> bytes:
    """Return what signatures and the reference hash cover: the event redacted, without its signatures."""
    essential = redact(fields, version)
    essential.pop("signatures", None)
    return encode_lenient(essential)


def reference_hash(fields: Mapping[str, Any], version: RoomVersion) -> str:
    """Return the reference hash in unpadded Base64, in the alphabet of the version's event IDs."""
    return reference_hash_of(essential_bytes(fields, version), version)


def reference_hash_of(essential: bytes, version: RoomVersion) -> str:
    """Return the reference hash of `essential_bytes`, for those who have them at hand."""
    digest = sha256(essential).digest()
    if version.event_id_format is EventIdFormat.URL_SAFE_BASE64:
        return unpadded_base64.encode_url_safe(digest)
    return unpadded_base64.encode(digest)


def event_id_of(fields: Mapping[str, Any], version: RoomVersion) -> EventID:
    """Return the event's ID: its `event_id` until room version 2, its reference hash after."""
    if version.event_id_is_hash:
        return EventID("$" + reference_hash(fields, version))
    return EventID(fields["event_id"])
