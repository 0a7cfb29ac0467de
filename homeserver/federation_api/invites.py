"""Inviting users of this server: https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room."""

from typing import Any

import msgspec

from federation.core.canonical_json import encode_lenient
from federation.core.ids import EventID, RoomID
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Answer, Auth, Call, Routes

routes = Routes()

OLD_VERSION = "1"
"""What stands for both room versions that the first form of the request is for: their events are alike."""


class Invite(msgspec.Struct):
    """An invite with the room's version and what may be told of it."""

    room_version: str
    event: JsonObject
    invite_room_state: list[Any] = []


@routes.put("/_matrix/federation/v2/invite/{room_id}/{event_id}", auth=Auth.SERVER, limit="invites")
async def invite(call: Call, room_id: RoomID, event_id: EventID, body: Invite) -> Answer:
    """Invite a user of this server."""
    signed = await call.services.incoming_invites.receive(
        call.origin,
        room_id,
        event_id,
        room_version=body.room_version,
        fields=body.event,
        room_state=body.invite_room_state,
    )
    # Events of old rooms hold numbers that canonical JSON has not.
    return Answer(encode_lenient({"event": signed}))


@routes.put("/_matrix/federation/v1/invite/{room_id}/{event_id}", auth=Auth.SERVER, limit="invites")
async def invite_to_old_room(call: Call, room_id: RoomID, event_id: EventID, body: JsonObject) -> Answer:
    """Invite a user of this server to a room of version 1 or 2."""
    unsigned = body.get("unsigned")
    room_state = unsigned.get("invite_room_state") if isinstance(unsigned, dict) else None
    signed = await call.services.incoming_invites.receive(
        call.origin,
        room_id,
        event_id,
        room_version=OLD_VERSION,
        fields=body,
        room_state=room_state if isinstance(room_state, list) else [],
    )
    return Answer(encode_lenient([200, {"event": signed}]))
