"""A room's past: https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room."""

from typing import Annotated

import msgspec

from federation.core.ids import EventID, RoomID
from homeserver.client_api.pagination import (
    LARGEST_PAGE,
    Direction,
    Limit,
    answer,
    listed,
    place,
    room_filter,
    token,
)
from homeserver.http.routing import Answer, Call, Json, Routes
from homeserver.services.pages import Span

routes = Routes()
# What is no event ID here is an event that was not found, like any other that does not exist.


class MessagesQuery(msgspec.Struct):
    """Which messages, and how many."""

    direction: Direction = msgspec.field(name="dir")
    start: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    limit: Limit = 10
    filter: str | None = None


class ContextQuery(msgspec.Struct):
    """How much around an event."""

    limit: Limit = 10
    filter: str | None = None


class TimeQuery(msgspec.Struct):
    """Which moment, and where to look from there."""

    ts: Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
    direction: Direction = msgspec.field(name="dir")


@routes.get("/_matrix/client/v3/rooms/{room_id}/messages")
async def messages(call: Call, room_id: RoomID, query: MessagesQuery) -> Answer:
    """Tell a page of a room's history."""
    start = place("from", query.start)
    span = Span(query.direction == "b", start, place("to", query.to), min(query.limit, LARGEST_PAGE))
    found = await call.services.history.messages(call.who, room_id, span, room_filter(query.filter))
    return Answer(
        answer(
            start=query.start if query.start is not None else token(found.start),
            end=token(found.end),
            chunk=listed(found.chunk),
            state=listed(found.state) if found.state else None,
        )
    )


@routes.get("/_matrix/client/v3/rooms/{room_id}/event/{event_id}")
async def event(call: Call, room_id: RoomID, event_id: str) -> Answer:
    """Tell a single event."""
    return Answer(await call.services.history.event(call.who, room_id, EventID(event_id)))


@routes.get("/_matrix/client/v3/rooms/{room_id}/context/{event_id}")
async def context(call: Call, room_id: RoomID, event_id: str, query: ContextQuery) -> Answer:
    """Tell what was before and after an event."""
    limit = min(query.limit, LARGEST_PAGE)
    found = await call.services.history.context(call.who, room_id, EventID(event_id), limit, room_filter(query.filter))
    return Answer(
        answer(
            start=token(found.start),
            end=token(found.end),
            event=found.event,
            events_before=listed(found.before),
            events_after=listed(found.after),
            state=listed(found.state),
        )
    )


@routes.get("/_matrix/client/v1/rooms/{room_id}/timestamp_to_event")
async def timestamp_to_event(call: Call, room_id: RoomID, query: TimeQuery) -> Json:
    """Tell which event was sent nearest to a moment."""
    backwards = query.direction == "b"
    event_id, ts = await call.services.history.at_time(call.who, room_id, query.ts, backwards=backwards)
    return {"event_id": event_id, "origin_server_ts": ts}
