"""What a resident server offers to sign, and what becomes of it: the joining side of the handshakes.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.core.errors import BadEvent, BadJson, InvalidIdentifier
from federation.core.events.content import Membership
from federation.core.events.draft import Draft, build
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, UserID, parse_event_id
from federation.core.room_versions import ROOM_VERSIONS, RoomVersion
from federation.matrix.errors import BadAnswer
from homeserver.services.timeline import MEMBER, Timeline

OLDEST_VERSION = "1"
"""The version of a room whose server names none."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Where in a room's history a membership event may stand, and what authorises it."""

    version: RoomVersion
    prev_events: list[EventID]
    auth_events: list[EventID]
    depth: int
    content: Mapping[str, Any]
    hashes: Mapping[EventID, str]
    """Of the events cited, for room versions whose references carry them."""


def read_offer(answer: Mapping[str, Any], room_id: RoomID, user_id: UserID, membership: Membership) -> Offer:
    """Return what a server offers for one user to sign in one room. Raises `BadAnswer` for anything else."""
    named = answer.get("room_version", OLDEST_VERSION)
    version = ROOM_VERSIONS.get(named) if isinstance(named, str) else None
    if version is None:
        raise BadAnswer(f"an offer for room version {named!r}, which was not asked for")
    event = answer.get("event")
    content = event.get("content") if isinstance(event, dict) else None
    if not isinstance(event, dict) or not isinstance(content, dict):
        raise BadAnswer("an offer without an event")
    wanted = {"type": MEMBER, "room_id": room_id, "sender": user_id, "state_key": user_id}
    for name, value in wanted.items():
        if event.get(name) != value:
            raise BadAnswer(f"an offer whose {name} is not {value}")
    if content.get("membership") != membership:
        raise BadAnswer(f"an offer that does not say {membership}")
    depth = event.get("depth")
    if type(depth) is not int or depth < 0:
        raise BadAnswer("an offer without a depth")
    hashes: dict[EventID, str] = {}
    prev_events = _references(event.get("prev_events"), version, hashes)
    auth_events = _references(event.get("auth_events"), version, hashes)
    return Offer(version, prev_events, auth_events, depth, content, hashes)


def sign(timeline: Timeline, offer: Offer, room_id: RoomID, user_id: UserID, content: Mapping[str, Any]) -> Pdu:
    """Return the event, signed by this server, with a content of our own. Raises `BadAnswer` if it would be none."""
    try:
        return build(
            Draft(room_id, MEMBER, user_id, content, user_id),
            version=offer.version,
            prev_events=offer.prev_events,
            auth_events=offer.auth_events,
            depth=offer.depth,
            now_ms=timeline.clock.now_ms(),
            server_name=timeline.server_name,
            key=timeline.key,
            opaque_id="" if offer.version.event_id_is_hash else timeline.ids.letters(18),
            reference_hashes=offer.hashes,
        )
    except (BadEvent, BadJson) as error:
        raise BadAnswer(f"an offer that makes no event: {error}") from error


def _references(value: object, version: RoomVersion, hashes: dict[EventID, str]) -> list[EventID]:
    if not isinstance(value, list):
        raise BadAnswer("an offer that cites no events")
    found = []
    for reference in value:
        event_id, proof = reference, None
        if version.references_carry_hashes:
            if not isinstance(reference, list) or len(reference) != 2 or not isinstance(reference[1], dict):
                raise BadAnswer("an offer that cites no events")
            event_id, proof = reference[0], reference[1].get("sha256")
        try:
            found.append(parse_event_id(event_id if isinstance(event_id, str) else ""))
        except InvalidIdentifier as error:
            raise BadAnswer("an offer that cites what is no event ID") from error
        if isinstance(proof, str):
            hashes[found[-1]] = proof
    return found
