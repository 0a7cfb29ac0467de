"""Reading state and members: https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room."""

from typing import Literal

import msgspec

from federation.core.events.content import Membership
from federation.core.ids import RoomID
from homeserver.client_api.pagination import answer, listed, place
from homeserver.http.routing import Answer, Call, Json, Routes

routes = Routes()


class StateQuery(msgspec.Struct):
    """Whether the content is wanted or the event."""

    format: Literal["content", "event"] = "content"


class MembersQuery(msgspec.Struct):
    """Which members, and when."""

    at: str | None = None
    membership: Membership | None = None
    not_membership: Membership | None = None


@routes.get("/_matrix/client/v3/rooms/{room_id}/state")
async def all_state(call: Call, room_id: RoomID) -> Answer:
    """Tell the whole state of a room."""
    return Answer(listed(await call.services.room_state.all(call.who, room_id)))


@routes.get("/_matrix/client/v3/rooms/{room_id}/state/{event_type}")
async def state_without_key(call: Call, room_id: RoomID, event_type: str, query: StateQuery) -> Answer:
    """Tell the state of a type with the empty state key."""
    return await _state(call, room_id, event_type, "", query)


@routes.get("/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}")
async def state(call: Call, room_id: RoomID, event_type: str, state_key: str, query: StateQuery) -> Answer:
    """Tell the state of a type and state key."""
    return await _state(call, room_id, event_type, state_key, query)


async def _state(call: Call, room_id: RoomID, event_type: str, state_key: str, query: StateQuery) -> Answer:
    room_state = call.services.room_state
    if query.format == "event":
        return Answer(await room_state.event(call.who, room_id, event_type, state_key))
    return Answer(await room_state.content(call.who, room_id, event_type, state_key))


@routes.get("/_matrix/client/v3/rooms/{room_id}/members")
async def members(call: Call, room_id: RoomID, query: MembersQuery) -> Answer:
    """Tell the membership events of a room."""
    found = await call.services.room_state.members(
        call.who, room_id, at=place("at", query.at), membership=query.membership, not_membership=query.not_membership
    )
    return Answer(answer(chunk=listed(found)))


@routes.get("/_matrix/client/v3/rooms/{room_id}/joined_members")
async def joined_members(call: Call, room_id: RoomID) -> Json:
    """Tell who is in a room, with their names and avatars."""
    joined = {}
    for member in await call.services.room_state.joined_members(call.who, room_id):
        profile = {"display_name": member.display_name, "avatar_url": member.avatar_url}
        joined[member.user_id] = {key: value for key, value in profile.items() if value is not None}
    return {"joined": joined}


@routes.get("/_matrix/client/v3/joined_rooms")
async def joined_rooms(call: Call) -> Json:
    """Tell which rooms the user is in."""
    return {"joined_rooms": await call.services.room_state.joined_rooms(call.who)}
