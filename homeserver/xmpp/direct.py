"""Which rooms are chats between two people: one JID, one current direct room.

What is direct for a user stands in their account data (https://spec.matrix.org/v1.19/client-server-api/#mdirect), as
Matrix clients keep it; a room with more than two people in it is shown as a room all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.events.content import Membership
from federation.core.ids import RoomID, UserID, parse_room_id, parse_user_id
from federation.core.room_versions import ROOM_VERSIONS
from homeserver.model.accounts import Requester
from homeserver.model.new_rooms import NewRoom, Preset
from homeserver.model.nids import RoomNid, UserNid
from homeserver.services import Services
from homeserver.storage import account_data, memberships

DIRECT = "m.direct"
_THERE = (Membership.JOIN, Membership.INVITE)


@dataclass(frozen=True, slots=True)
class Current:
    """The room in which a user talks with somebody now."""

    room: RoomNid
    room_id: RoomID
    encrypted: bool


def direct_rooms(conn: Connection, services: Services, user: UserNid) -> dict[RoomNid, UserID]:
    """Return the rooms that a user has joined to talk with one person, and with whom."""
    named = _named(account_data.find(conn, user, DIRECT))
    rooms = services.history.names.room_nids(conn, named)
    by_room = {nid: named[room_id] for room_id, nid in rooms.items()}
    standings = memberships.of_user_in_rooms(conn, user, by_room)
    joined = [room for room, standing in standings.items() if standing.membership is Membership.JOIN]
    counts = memberships.counts(conn, joined)
    return {room: by_room[room] for room in joined if sum(counts[room].get(kind, 0) for kind in _THERE) <= 2}


def current(conn: Connection, services: Services, user: UserNid, user_id: UserID, peer: UserID) -> Current | None:
    """Return the room in which a user talks with somebody now: one that both are in, rather not an encrypted one."""
    rooms = [room for room, other in direct_rooms(conn, services, user).items() if other == peer]
    other = services.history.names.user(conn, peer)
    if not rooms or other is None:
        return None
    there = memberships.of_user_in_rooms(conn, other, rooms)
    views = services.summaries.views.load(conn, [room for room in rooms if _is_there(there.get(room), peer, user_id)])
    found = [
        Current(nid, view.room.room_id, view.content("m.room.encryption") is not None) for nid, view in views.items()
    ]
    return max(found, key=lambda one: (not one.encrypted, views[one.room].room.newest), default=None)


def _is_there(standing: Any, peer: UserID, user_id: UserID) -> bool:
    return peer == user_id or (standing is not None and standing.membership in _THERE)


async def begin(services: Services, who: Requester, peer: UserID) -> RoomID:
    """Make a room to talk with somebody in, and invite them. Raises what `Rooms.create` raises.

    It is not encrypted: XMPP clients could neither read nor write in it.
    """
    wanted = NewRoom(
        version=ROOM_VERSIONS[services.config.rooms.default_version],
        preset=Preset.TRUSTED,
        invited=() if peer == who.user_id else (peer,),
        is_direct=True,
        creation_content={},
        power_levels={},
    )
    room_id = await services.rooms.create(who, wanted)
    await remember(services, who, peer, room_id)
    return room_id


async def remember(services: Services, who: Requester, peer: UserID, room_id: RoomID) -> None:
    """Add a room to those in which a user talks with somebody."""

    def add(content: dict[str, Any]) -> dict[str, Any]:
        rooms = content.get(peer)
        listed = [each for each in rooms if each != room_id] if isinstance(rooms, list) else []
        return {**content, peer: [*listed, room_id]}

    await services.account_data.change(who, DIRECT, add)


def _named(content: bytes | None) -> Mapping[RoomID, UserID]:
    found: dict[RoomID, UserID] = {}
    parsed = orjson.loads(content) if content is not None else {}
    for peer, rooms in parsed.items() if isinstance(parsed, dict) else ():
        for room_id in rooms if isinstance(rooms, list) else ():
            try:
                found[parse_room_id(room_id)] = parse_user_id(peer)
            except (InvalidIdentifier, TypeError, AttributeError):
                continue
    return found
