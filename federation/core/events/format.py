"""Shape and size of an event: the first check on receipt of a PDU.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu (check 1)
https://spec.matrix.org/v1.19/client-server-api/#size-limits
https://spec.matrix.org/v1.19/rooms/v12/#event-format and the same section of each room version
"""

from collections.abc import Mapping
from typing import Any

from federation.core.canonical_json import encode, encode_lenient
from federation.core.errors import BadEvent, BadJson, EventTooLarge, InvalidIdentifier
from federation.core.ids import (
    MAX_ID_BYTES,
    domain_of,
    fits,
    is_hash_room_id,
    parse_event_id,
    parse_room_id,
    parse_user_id,
)
from federation.core.room_versions import RoomVersion

MAX_EVENT_BYTES = 65536
"""The canonical JSON of an event with its signatures, and without `unsigned`, which no one signs."""
MAX_AUTH_EVENTS = 10
MAX_PREV_EVENTS = 20

CREATE = "m.room.create"


def check(fields: Mapping[str, Any], version: RoomVersion) -> None:
    """Raise `BadEvent` unless `fields`, which has no `unsigned`, is an event of the room version."""
    try:
        encoded = encode(fields) if version.strict_canonical_json else encode_lenient(fields)
    except BadJson as error:
        raise BadEvent(str(error)) from error
    if len(encoded) > MAX_EVENT_BYTES:
        raise EventTooLarge(f"the event has {len(encoded)} bytes, {MAX_EVENT_BYTES} are allowed")
    event_type = _text(fields, "type")
    _check_size("type", event_type)
    _check_sender(fields)
    _check_room_id(fields, event_type, version)
    _check_optional_texts(fields, version)
    _check_numbers(fields, version)
    if not isinstance(fields.get("content"), dict):
        raise BadEvent("content is not an object")
    _check_references(fields, "auth_events", MAX_AUTH_EVENTS, version)
    _check_references(fields, "prev_events", MAX_PREV_EVENTS, version)
    _check_proofs(fields)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise BadEvent(f"{name} is not text")
    return value


def _check_size(name: str, text: str) -> None:
    if not fits(text):
        raise EventTooLarge(f"{name} is longer than {MAX_ID_BYTES} bytes")


def _check_sender(fields: Mapping[str, Any]) -> None:
    sender = _text(fields, "sender")
    _check_size("sender", sender)
    try:
        parse_user_id(sender)
    except InvalidIdentifier as error:
        raise BadEvent("sender is not a user ID") from error


def _check_room_id(fields: Mapping[str, Any], event_type: str, version: RoomVersion) -> None:
    # Since v12 the create event has no room ID. One that has is for authorisation rule 1.2 to reject.
    if version.room_id_is_create_hash and event_type == CREATE and "room_id" not in fields:
        return
    room_id = _text(fields, "room_id")
    _check_size("room_id", room_id)
    try:
        parse_room_id(room_id)
    except InvalidIdentifier as error:
        raise BadEvent("room_id is not a room ID") from error
    if is_hash_room_id(room_id) is not version.room_id_is_create_hash:
        raise BadEvent("room_id is that of another room version")


def _check_optional_texts(fields: Mapping[str, Any], version: RoomVersion) -> None:
    if "state_key" in fields:
        _check_size("state_key", _text(fields, "state_key"))
    if not version.event_id_is_hash:
        event_id = _text(fields, "event_id")
        _check_size("event_id", event_id)
        try:
            domain = domain_of(parse_event_id(event_id))
        except InvalidIdentifier as error:
            raise BadEvent("event_id is not an event ID") from error
        if domain is None:
            raise BadEvent("event_id has no domain")
    if "redacts" in fields and not version.redacts_in_content:
        _text(fields, "redacts")


def _check_numbers(fields: Mapping[str, Any], version: RoomVersion) -> None:
    # `type(...) is int`: in Python, and not in JSON, true is an integer.
    if type(fields.get("origin_server_ts")) is not int:
        raise BadEvent("origin_server_ts is not an integer")
    depth = fields.get("depth")
    if type(depth) is not int or not 0 <= depth <= version.max_depth:
        raise BadEvent("depth is not an integer in its range")


def _check_references(fields: Mapping[str, Any], name: str, limit: int, version: RoomVersion) -> None:
    references = fields.get(name)
    if not isinstance(references, list):
        raise BadEvent(f"{name} is not a list")
    if len(references) > limit:
        raise BadEvent(f"{name} has more than {limit} entries")
    for reference in references:
        event_id = _id_in_pair(reference) if version.references_carry_hashes else reference
        if not isinstance(event_id, str) or not event_id.startswith("$"):
            raise BadEvent(f"{name} has an entry that is not an event ID")
        _check_size(name, event_id)


def _id_in_pair(reference: object) -> object:
    """Return the ID in `[event_id, {"sha256": hash}]`, the form of room versions 1 and 2."""
    if isinstance(reference, list) and len(reference) == 2 and isinstance(reference[1], dict):
        return reference[0]
    return None


def _check_proofs(fields: Mapping[str, Any]) -> None:
    hashes = fields.get("hashes")
    if not isinstance(hashes, dict) or not isinstance(hashes.get("sha256"), str):
        raise BadEvent("hashes has no sha256")
    signatures = fields.get("signatures")
    if not isinstance(signatures, dict):
        raise BadEvent("signatures is not an object")
    for of_server in signatures.values():
        if not isinstance(of_server, dict) or not all(isinstance(value, str) for value in of_server.values()):
            raise BadEvent("signatures is not an object of objects of texts")
