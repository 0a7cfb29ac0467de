"""Events to test with: one person, one room, every room version."""

from typing import Any

from federation.core.events.draft import Draft, build
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName, UserID
from federation.core.room_versions import ROOM_VERSIONS, RoomVersion
from federation.core.signing import SigningKey

KEY = SigningKey.from_seed("1", bytes(range(32)))
SERVER = ServerName("example.org")
ALICE = UserID("@alice:example.org")
VERSIONS = list(ROOM_VERSIONS.values())


def room_id(version: RoomVersion) -> RoomID:
    """Return a room ID of the form that the version has."""
    return RoomID("!" + "r" * 43 if version.room_id_is_create_hash else "!room:example.org")


def event_id(version: RoomVersion, letter: str) -> EventID:
    """Return an event ID of the form that the version has."""
    return EventID("$" + letter * 43 if version.event_id_is_hash else f"${letter}:example.org")


def message(version: RoomVersion, content: dict[str, Any] | None = None, **changes: Any) -> Pdu:
    """Return a signed message event; `changes` are fields of the draft."""
    draft: dict[str, Any] = {
        "room_id": room_id(version),
        "type": "m.room.message",
        "sender": ALICE,
        "content": {"msgtype": "m.text", "body": "hi"} if content is None else content,
    }
    return built(Draft(**(draft | changes)), version)


def built(draft: Draft, version: RoomVersion, **changes: Any) -> Pdu:
    """Return a draft as a signed event, with two auth events and a prev event."""
    arguments: dict[str, Any] = {
        "version": version,
        "prev_events": [event_id(version, "p")],
        "auth_events": [event_id(version, "a"), event_id(version, "b")],
        "depth": 7,
        "now_ms": 1_700_000_000_000,
        "server_name": SERVER,
        "key": KEY,
        "opaque_id": "unique",
    }
    return build(draft, **(arguments | changes))
