"""An event of our own making: https://spec.matrix.org/v1.19/server-server-api/#signing-events.

Who may send what, and which events authorise it, is decided before (`federation.core.auth`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.core import unpadded_base64
from federation.core.canonical_json import check_strict
from federation.core.events.format import check
from federation.core.events.pdu import Pdu
from federation.core.hashing import content_hash, essential_bytes, reference_hash_of
from federation.core.ids import EventID, RoomID, ServerName, UserID
from federation.core.room_versions import RoomVersion
from federation.core.signing import SigningKey


@dataclass(frozen=True, slots=True)
class Draft:
    """What a sender wants to say; the rest follows from the room."""

    room_id: RoomID | None
    """None for the create event of a room whose ID is that event's hash."""
    type: str
    sender: UserID
    content: Mapping[str, Any]
    state_key: str | None = None
    redacts: EventID | None = None


def build(
    draft: Draft,
    *,
    version: RoomVersion,
    prev_events: Sequence[EventID],
    auth_events: Sequence[EventID],
    depth: int,
    now_ms: int,
    server_name: ServerName,
    key: SigningKey,
    opaque_id: str = "",
    reference_hashes: Mapping[EventID, str] | None = None,
) -> Pdu:
    """Return the event, hashed and signed, in the format of the room version.

    `depth` is lowered to the greatest that the version allows. Only room versions 1 and 2 need the last two:
    `opaque_id`, unique among our events, becomes part of the event ID; `reference_hashes` are those of the
    events cited, as far as known (nobody checks them).

    Raises `BadJson` if the version cannot express the content, `EventTooLarge` if the event is too large, and
    `BadEvent` if it is no event otherwise; `ValueError` if `opaque_id` is missing.
    """
    fields = template(
        draft,
        version=version,
        prev_events=prev_events,
        auth_events=auth_events,
        depth=depth,
        now_ms=now_ms,
        reference_hashes=reference_hashes,
    )
    if not version.event_id_is_hash:
        if not opaque_id:
            raise ValueError("events of this room version need an opaque_id")
        fields["event_id"] = f"${opaque_id}:{server_name}"
    if version.strict_canonical_json:
        check_strict(draft.content)
    fields["hashes"] = {"sha256": content_hash(fields)}
    # One encoding is both what is signed and, since v3, what gives the event its ID.
    essential = essential_bytes(fields, version)
    fields["signatures"] = {server_name: {key.key_id: unpadded_base64.encode(key.sign_bytes(essential))}}
    check(fields, version)
    if version.event_id_is_hash:
        event_id = EventID("$" + reference_hash_of(essential, version))
    else:
        event_id = EventID(fields["event_id"])
    return Pdu.trusted(fields, version, event_id)


def template(
    draft: Draft,
    *,
    version: RoomVersion,
    prev_events: Sequence[EventID],
    auth_events: Sequence[EventID],
    depth: int,
    now_ms: int,
    reference_hashes: Mapping[EventID, str] | None = None,
) -> dict[str, Any]:
    """Return the event without ID, hashes and signatures, as `make_join` and its like offer it."""
    content = dict(draft.content)
    fields: dict[str, Any] = {
        "auth_events": _references(auth_events, version, reference_hashes or {}),
        "content": content,
        "depth": min(depth, version.max_depth),
        "origin_server_ts": now_ms,
        "prev_events": _references(prev_events, version, reference_hashes or {}),
        "sender": draft.sender,
        "type": draft.type,
    }
    if draft.room_id is not None:
        fields["room_id"] = draft.room_id
    if draft.state_key is not None:
        fields["state_key"] = draft.state_key
    if draft.redacts is not None:
        (content if version.redacts_in_content else fields)["redacts"] = draft.redacts
    return fields


def _references(event_ids: Sequence[EventID], version: RoomVersion, hashes: Mapping[EventID, str]) -> list[Any]:
    if not version.references_carry_hashes:
        return list(event_ids)
    return [[event_id, {"sha256": hashes[event_id]} if event_id in hashes else {}] for event_id in event_ids]
