"""Reading a room's past: https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events."""

from typing import Annotated

import msgspec
import orjson

from federation.core.ids import EventID, RoomID
from homeserver.federation_api.pdus import listed, transaction
from homeserver.http.routing import Answer, Auth, Call, Routes

routes = Routes()


class BackfillQuery(msgspec.Struct):
    """From which events to go back, and how far."""

    v: list[str]
    limit: Annotated[int, msgspec.Meta(ge=1)]


class Missing(msgspec.Struct):
    """Between which events the missing ones are."""

    earliest_events: list[str]
    latest_events: list[str]
    limit: Annotated[int, msgspec.Meta(ge=1)] = 10
    min_depth: int = 0


@routes.get("/_matrix/federation/v1/backfill/{room_id}", auth=Auth.SERVER)
async def backfill(call: Call, room_id: RoomID, query: BackfillQuery) -> Answer:
    """Tell events and what was before them."""
    starts = [EventID(event_id) for event_id in query.v]
    return transaction(call, await call.services.serving.backfill(call.origin, room_id, starts, query.limit))


@routes.post("/_matrix/federation/v1/get_missing_events/{room_id}", auth=Auth.SERVER)
async def get_missing_events(call: Call, room_id: RoomID, body: Missing) -> Answer:
    """Tell what was between events."""
    found = await call.services.serving.missing(
        call.origin,
        room_id,
        [EventID(event_id) for event_id in body.earliest_events],
        [EventID(event_id) for event_id in body.latest_events],
        limit=body.limit,
        min_depth=body.min_depth,
    )
    return Answer(orjson.dumps({"events": listed(found)}))
