"""Relations and threads.

Source: https://spec.matrix.org/v1.19/client-server-api/#relationships-api and #querying-threads-in-a-room
"""

from typing import Literal

import msgspec

from federation.core.ids import EventID, RoomID
from homeserver.client_api.pagination import LARGEST_PAGE, Direction, Limit, answer, listed, place, token
from homeserver.errors import InvalidParam
from homeserver.http.routing import Answer, Call, Routes
from homeserver.services.pages import Span
from homeserver.services.relations import Kinds

routes = Routes()

# What is no event ID here is an event that was not found, like any other that does not exist.
EVENT = "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}"


class RelationsQuery(msgspec.Struct):
    """Which children, and how many."""

    start: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    limit: Limit = 50
    direction: Direction = msgspec.field(default="b", name="dir")
    recurse: bool | None = None


class ThreadsQuery(msgspec.Struct):
    """Which threads, and how many."""

    include: Literal["all", "participated"] = "all"
    limit: Limit = 20
    start: str | None = msgspec.field(default=None, name="from")


@routes.get(EVENT)
async def relations(call: Call, room_id: RoomID, event_id: str, query: RelationsQuery) -> Answer:
    """Tell which events relate to an event."""
    return await _relations(call, room_id, event_id, query)


@routes.get(EVENT + "/{rel_type}")
async def relations_of_type(call: Call, room_id: RoomID, event_id: str, rel_type: str, query: RelationsQuery) -> Answer:
    """Tell which events relate to an event in one way."""
    return await _relations(call, room_id, event_id, query, rel_type)


@routes.get(EVENT + "/{rel_type}/{event_type}")
async def relations_of_types(
    call: Call, room_id: RoomID, event_id: str, rel_type: str, event_type: str, query: RelationsQuery
) -> Answer:
    """Tell which events of one type relate to an event in one way."""
    return await _relations(call, room_id, event_id, query, rel_type, event_type)


async def _relations(
    call: Call, room_id: RoomID, event_id: str, query: RelationsQuery, rel_type: str | None = None,
    event_type: str | None = None,
) -> Answer:  # fmt: skip
    start, stop = place("from", query.start), place("to", query.to)
    span = Span(query.direction == "b", start, stop, min(_some(query.limit), LARGEST_PAGE))
    kinds = Kinds(rel_type, event_type, bool(query.recurse))
    found = await call.services.relations.children(call.who, room_id, EventID(event_id), kinds, span)
    return Answer(
        answer(
            chunk=listed(found.chunk),
            next_batch=token(found.end),
            prev_batch=query.start,
            recursion_depth=found.depth if query.recurse is not None else None,
        )
    )


@routes.get("/_matrix/client/v1/rooms/{room_id}/threads")
async def threads(call: Call, room_id: RoomID, query: ThreadsQuery) -> Answer:
    """Tell which threads a room has."""
    found = await call.services.relations.threads(
        call.who, room_id, participated=query.include == "participated", start=place("from", query.start),
        limit=min(_some(query.limit), LARGEST_PAGE),
    )  # fmt: skip
    return Answer(answer(chunk=listed(found.chunk), next_batch=token(found.end)))


def _some(limit: int) -> int:
    if limit == 0:
        raise InvalidParam("limit: must be greater than zero")
    return limit
