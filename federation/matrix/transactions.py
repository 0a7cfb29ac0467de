"""Transactions: what one server sends another in one request.

https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.core.errors import BadEvent, BadJson, InvalidIdentifier
from federation.core.events.pdu import Pdu
from federation.core.hashing import event_id_of
from federation.core.ids import EventID, RoomID, ServerName, parse_event_id, parse_room_id
from federation.core.room_versions import DEFAULT_ROOM_VERSION, ROOM_VERSIONS, RoomVersion
from federation.matrix.edus import Edu, read

MOST_PDUS = 50
MOST_EDUS = 100

PduResults = dict[EventID, dict[str, str]]
"""The answer: an empty object for each PDU that was taken, its error for each other."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction whose bounds are checked, and its EDUs; its PDUs are not looked at yet."""

    pdus: list[dict[str, Any]]
    edus: list[Edu]


def read_transaction(origin: ServerName, body: Mapping[str, Any]) -> Transaction:
    """Return what is in a transaction. Raises `BadJson` for one that is none, or holds more than it may."""
    pdus, edus = body.get("pdus", []), body.get("edus", [])
    if not isinstance(pdus, list) or not isinstance(edus, list):
        raise BadJson("pdus and edus must be lists")
    if len(pdus) > MOST_PDUS:
        raise BadJson(f"a transaction has at most {MOST_PDUS} PDUs")
    if len(edus) > MOST_EDUS:
        raise BadJson(f"a transaction has at most {MOST_EDUS} EDUs")
    known = (read(origin, edu) for edu in edus)
    return Transaction([pdu for pdu in pdus if isinstance(pdu, dict)], [edu for edu in known if edu is not None])


def room_of(fields: Mapping[str, Any]) -> RoomID | None:
    """Return the room of a PDU whose room version is not known yet; None if it names none.

    Since room version 12 a create event does not. Nobody sends one in a transaction: to have its room one must have
    joined it, and has the create event by that.
    """
    try:
        room_id = fields.get("room_id")
        return parse_room_id(room_id) if isinstance(room_id, str) else None
    except InvalidIdentifier:
        return None


def claimed_id(fields: Mapping[str, Any], version: RoomVersion | None) -> EventID | None:
    """Return the ID under which the result of a PDU is told, also of one that is no event; None if it has none.

    Where the room is not known, the version cannot be either. The newest ones make the ID in the same way, unless the
    event is a redaction, and what a PDU holds beyond what they keep is not part of it.
    """
    try:
        if version is not None and version.event_id_is_hash:
            return event_id_of(fields, version)
        if isinstance(fields.get("event_id"), str):
            return parse_event_id(fields["event_id"])
        newest = ROOM_VERSIONS[DEFAULT_ROOM_VERSION]
        return event_id_of(fields, newest) if version is None else None
    except (BadJson, BadEvent, InvalidIdentifier, KeyError, TypeError, AttributeError, ValueError):
        return None


def read_pdu(fields: object, version: RoomVersion, room_id: RoomID) -> Pdu:
    """Return an event that must be of a room. Raises `BadEvent`."""
    pdu = Pdu.from_wire(fields, version)
    if pdu.room_id != room_id:
        raise BadEvent("the event is of another room")
    return pdu
