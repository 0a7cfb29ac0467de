"""Spaces: https://spec.matrix.org/v1.19/server-server-api/#spaces."""

import msgspec

from federation.core.ids import RoomID
from homeserver.http.routing import Auth, Call, Json, Routes

routes = Routes()


class HierarchyQuery(msgspec.Struct):
    """Whether only suggested rooms are asked for."""

    suggested_only: bool = False


@routes.get("/_matrix/federation/v1/hierarchy/{room_id}", auth=Auth.SERVER)
async def hierarchy(call: Call, room_id: RoomID, query: HierarchyQuery) -> Json:
    """Describe a room and, if it is a space, those of its rooms that are here and that the asking server may see."""
    return await call.services.spaces.for_server(call.origin, room_id, suggested_only=query.suggested_only)
