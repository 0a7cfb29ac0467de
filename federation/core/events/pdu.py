"""The event as servers exchange it: https://spec.matrix.org/v1.19/server-server-api/#pdus.

A `Pdu` holds the wire form as it was signed, and the few fields that every reader wants, typed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.core.errors import BadEvent
from federation.core.events.format import CREATE, check
from federation.core.hashing import event_id_of
from federation.core.ids import EventID, RoomID, UserID
from federation.core.room_versions import RoomVersion


@dataclass(frozen=True, slots=True)
class Pdu:
    """An event. Nothing in it may be changed; two events with one ID are the same event."""

    version: RoomVersion
    event_id: EventID
    room_id: RoomID
    """Of a create event since v12, which has none: derived from the event ID."""
    type: str
    sender: UserID
    state_key: str | None
    content: Mapping[str, Any]
    origin_server_ts: int
    depth: int
    auth_events: tuple[EventID, ...]
    prev_events: tuple[EventID, ...]
    redacts: EventID | None
    """Wherever the room version puts it; None where there is none, or none that is text."""
    fields: Mapping[str, Any]
    """The whole wire form as signed, so without `unsigned`."""

    @classmethod
    def from_wire(cls, fields: object, version: RoomVersion) -> "Pdu":
        """Return the event that another server sent, or raise `BadEvent`.

        Checks shape and size only; hashes, signatures and authorisation come after. `unsigned` is left out:
        no one signs it, so it is not part of the event.
        """
        if not isinstance(fields, dict):
            raise BadEvent("not an object")
        if "unsigned" in fields:
            fields = {key: value for key, value in fields.items() if key != "unsigned"}
        check(fields, version)
        return cls.trusted(fields, version, event_id_of(fields, version))

    @classmethod
    def trusted(cls, fields: Mapping[str, Any], version: RoomVersion, event_id: EventID) -> "Pdu":
        """Return an event that was checked before, as from our own store; nothing is checked again."""
        event_type: str = fields["type"]
        content: Mapping[str, Any] = fields["content"]
        if version.room_id_is_create_hash and event_type == CREATE:
            room_id = RoomID("!" + event_id[1:])
        else:
            room_id = fields["room_id"]
        redacts = None
        if event_type == "m.room.redaction":
            redacts = (content if version.redacts_in_content else fields).get("redacts")
            if not isinstance(redacts, str):
                redacts = None
        auth_events, prev_events = fields["auth_events"], fields["prev_events"]
        if version.references_carry_hashes:
            auth_events = [cited for cited, _ in auth_events]
            prev_events = [cited for cited, _ in prev_events]
        return cls(
            version=version,
            event_id=event_id,
            room_id=room_id,
            type=event_type,
            sender=fields["sender"],
            state_key=fields.get("state_key"),
            content=content,
            origin_server_ts=fields["origin_server_ts"],
            depth=fields["depth"],
            auth_events=tuple(auth_events),
            prev_events=tuple(prev_events),
            redacts=EventID(redacts) if redacts is not None else None,
            fields=fields,
        )

    @property
    def is_state(self) -> bool:
        """Whether the event is a state event, that is has a state key."""
        return self.state_key is not None

    @property
    def slot(self) -> tuple[str, str]:
        """Type and state key: what the event replaces. Raises `ValueError` if it is no state event."""
        if self.state_key is None:
            raise ValueError("not a state event")
        return self.type, self.state_key

    def __hash__(self) -> int:
        return hash(self.event_id)
