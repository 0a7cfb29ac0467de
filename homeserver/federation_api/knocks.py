"""Knocking on rooms through this server: https://spec.matrix.org/v1.19/server-server-api/#knocking-rooms."""

import msgspec
import orjson

from federation.core.events.content import Membership
from federation.core.ids import EventID, RoomID, UserID
from homeserver.federation_api.pdus import listed
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Answer, Auth, Call, Json, Routes

routes = Routes()


class Versions(msgspec.Struct):
    """The room versions that the other server speaks."""

    ver: tuple[str, ...]


@routes.get("/_matrix/federation/v1/make_knock/{room_id}/{user_id}", auth=Auth.SERVER)
async def make_knock(call: Call, room_id: RoomID, user_id: UserID, query: Versions) -> Json:
    """Offer the event with which a user may knock."""
    offer = await call.services.offers.make(call.origin, room_id, user_id, Membership.KNOCK, query.ver)
    return {"room_version": offer.room_version, "event": offer.event}


@routes.put("/_matrix/federation/v1/send_knock/{room_id}/{event_id}", auth=Auth.SERVER)
async def send_knock(call: Call, room_id: RoomID, event_id: EventID, body: JsonObject) -> Answer:
    """Let a user knock, and tell what the room is."""
    told = await call.services.handshakes.knock(call.origin, room_id, event_id, body)
    return Answer(orjson.dumps({"knock_room_state": listed(told)}))
