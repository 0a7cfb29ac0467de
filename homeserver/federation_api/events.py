"""Reading events and state: https://spec.matrix.org/v1.19/server-server-api/#retrieving-events.

What is no event ID here is an event that was not found, like any other that does not exist.
"""

from typing import Annotated, Literal

import msgspec
import orjson

from federation.core.ids import EventID, RoomID
from homeserver.federation_api.pdus import listed, transaction
from homeserver.http.routing import Answer, Auth, Call, Json, Routes

routes = Routes()


class StateQuery(msgspec.Struct):
    """At which event."""

    event_id: str


class TimeQuery(msgspec.Struct):
    """Which moment, and where to look from there."""

    ts: Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
    direction: Literal["b", "f"] = msgspec.field(name="dir")


@routes.get("/_matrix/federation/v1/event/{event_id}", auth=Auth.SERVER)
async def event(call: Call, event_id: str) -> Answer:
    """Tell a single event."""
    return transaction(call, [await call.services.serving.event(call.origin, EventID(event_id))])


@routes.get("/_matrix/federation/v1/state/{room_id}", auth=Auth.SERVER)
async def state(call: Call, room_id: RoomID, query: StateQuery) -> Answer:
    """Tell the state before an event."""
    found = await call.services.serving.state(call.origin, room_id, EventID(query.event_id))
    return Answer(orjson.dumps({"auth_chain": listed(found.auth_chain), "pdus": listed(found.state)}))


@routes.get("/_matrix/federation/v1/state_ids/{room_id}", auth=Auth.SERVER)
async def state_ids(call: Call, room_id: RoomID, query: StateQuery) -> Json:
    """Tell of which events the state before an event consists."""
    found = await call.services.serving.state_ids(call.origin, room_id, EventID(query.event_id))
    return {"auth_chain_ids": found.auth_chain, "pdu_ids": found.state}


@routes.get("/_matrix/federation/v1/event_auth/{room_id}/{event_id}", auth=Auth.SERVER)
async def event_auth(call: Call, room_id: RoomID, event_id: str) -> Answer:
    """Tell what authorises an event."""
    chain = await call.services.serving.event_auth(call.origin, room_id, EventID(event_id))
    return Answer(orjson.dumps({"auth_chain": listed(chain)}))


@routes.get("/_matrix/federation/v1/timestamp_to_event/{room_id}", auth=Auth.SERVER)
async def timestamp_to_event(call: Call, room_id: RoomID, query: TimeQuery) -> Json:
    """Tell which event was sent nearest to a moment."""
    backwards = query.direction == "b"
    event_id, ts = await call.services.serving.at_time(call.origin, room_id, query.ts, backwards=backwards)
    return {"event_id": event_id, "origin_server_ts": ts}
