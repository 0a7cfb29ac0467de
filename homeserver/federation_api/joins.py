"""Joining rooms through this server: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms."""

from typing import Any

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

    ver: tuple[str, ...] = ("1",)


class HowToTell(msgspec.Struct):
    """Whether members may be left out."""

    omit_members: bool = False


@routes.get("/_matrix/federation/v1/make_join/{room_id}/{user_id}", auth=Auth.SERVER)
async def make_join(call: Call, room_id: RoomID, user_id: UserID, query: Versions) -> Json:
    """Offer the event with which a user may join."""
    offer = await call.services.offers.make(call.origin, room_id, user_id, Membership.JOIN, query.ver)
    return {"room_version": offer.room_version, "event": offer.event}


@routes.put("/_matrix/federation/v2/send_join/{room_id}/{event_id}", auth=Auth.SERVER)
async def send_join(call: Call, room_id: RoomID, event_id: EventID, query: HowToTell, body: JsonObject) -> Answer:
    """Let a user in, and tell the room."""
    joined = await call.services.handshakes.join(call.origin, room_id, event_id, body, omit_members=query.omit_members)
    answer: dict[str, Any] = {
        "event": orjson.Fragment(joined.event),
        "state": listed(joined.state),
        "auth_chain": listed(joined.auth_chain),
        "members_omitted": joined.servers is not None,
    }
    if joined.servers is not None:
        answer["servers_in_room"] = joined.servers
    return Answer(orjson.dumps(answer))
