"""Rooms of Alice's on our server, and what the peer needs to come, go and knock there."""

from collections.abc import Mapping
from typing import Any

from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, UserID
from federation.core.room_versions import ROOM_VERSIONS
from tests.federation_api.asking import Asking
from tests.support.shared_room import SharedRoom
from tests.support.world import User, ok, q

ALL = tuple(ROOM_VERSIONS)


async def public_room(alice: User, version: str = "12", **content: Any) -> RoomID:
    """Let Alice create a room that anyone may join."""
    return RoomID(await alice.creates_room(preset="public_chat", room_version=version, **content))


async def offered(asks: Asking, what: str, room_id: RoomID, user: UserID, **content: Any) -> Pdu:
    """Return the event that our server offers to a user of the peer, signed by that."""
    offer = ok(await asks.make(what, room_id, user, *ALL))
    return completed(asks.peer.room(offer["room_version"], room_id), offer["event"], **content)


def completed(room: SharedRoom, template: Mapping[str, Any], **content: Any) -> Pdu:
    """Return an event that was offered, hashed and signed."""

    def ids(references: list[Any]) -> list[Any]:
        return [each[0] if room.version.references_carry_hashes else each for each in references]

    return room.make(
        template["sender"],
        template["type"],
        {**template["content"], **content},
        template["state_key"],
        prev=ids(template["prev_events"]),
        auth=ids(template["auth_events"]),
        depth=template["depth"],
    )


async def memberships(user: User, room_id: str) -> dict[str, str]:
    """Return how everyone stands to a room, as a user of ours sees it."""
    chunk = ok(await user.get(f"/rooms/{q(room_id)}/members"))["chunk"]
    return {event["state_key"]: event["content"]["membership"] for event in chunk}


def pdus(answer: list[dict[str, Any]], version: str = "12") -> dict[EventID, Pdu]:
    """Return events of an answer by their IDs, in its order."""
    return {(pdu := Pdu.from_wire(each, ROOM_VERSIONS[version])).event_id: pdu for each in answer}
