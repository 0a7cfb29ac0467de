"""Spaces: https://spec.matrix.org/v1.19/client-server-api/#discovering-rooms-within-spaces."""

from typing import Annotated

import msgspec

from federation.core.ids import RoomID
from homeserver.http.routing import Call, Json, Routes
from homeserver.services.spaces import USUAL_PAGE, Wanted

routes = Routes()


class HierarchyQuery(msgspec.Struct):
    """Which part of a hierarchy."""

    suggested_only: bool | None = None
    limit: Annotated[int, msgspec.Meta(gt=0)] = USUAL_PAGE
    max_depth: Annotated[int, msgspec.Meta(ge=0)] | None = None
    from_: str | None = msgspec.field(default=None, name="from")


@routes.get("/_matrix/client/v1/rooms/{room_id}/hierarchy")
async def hierarchy(call: Call, room_id: RoomID, query: HierarchyQuery) -> Json:
    """List the rooms of a space and of the spaces in it."""
    wanted = Wanted.of(query.suggested_only, query.max_depth, query.from_)
    return await call.services.spaces.hierarchy(call.who, room_id, wanted, query.limit)
