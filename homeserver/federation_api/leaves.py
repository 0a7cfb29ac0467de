"""Leaving rooms, turning down invites: https://spec.matrix.org/v1.19/server-server-api/#leaving-rooms-rejecting-invites."""

from federation.core.events.content import Membership
from federation.core.ids import EventID, RoomID, UserID
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Auth, Call, Json, Routes

routes = Routes()


@routes.get("/_matrix/federation/v1/make_leave/{room_id}/{user_id}", auth=Auth.SERVER)
async def make_leave(call: Call, room_id: RoomID, user_id: UserID) -> Json:
    """Offer the event with which a user may leave."""
    offer = await call.services.offers.make(call.origin, room_id, user_id, Membership.LEAVE)
    return {"room_version": offer.room_version, "event": offer.event}


@routes.put("/_matrix/federation/v2/send_leave/{room_id}/{event_id}", auth=Auth.SERVER)
async def send_leave(call: Call, room_id: RoomID, event_id: EventID, body: JsonObject) -> Json:
    """Let a user leave."""
    await call.services.handshakes.leave(call.origin, room_id, event_id, body)
    return {}
