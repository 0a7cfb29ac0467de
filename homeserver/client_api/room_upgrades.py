"""Room upgrades: https://spec.matrix.org/v1.19/client-server-api/#room-upgrades."""

import msgspec

from federation.core.ids import RoomID
from homeserver.client_api.rooms import known_version
from homeserver.http.routing import Call, Json, Routes

routes = Routes()


class Upgrade(msgspec.Struct):
    """The version of the new room, and its further creators."""

    new_version: str
    additional_creators: list[str] = []


@routes.post("/_matrix/client/v3/rooms/{room_id}/upgrade", limit="joins")
async def upgrade(call: Call, room_id: RoomID, body: Upgrade) -> Json:
    """Replace a room by one of another version."""
    version = known_version(body.new_version)
    new = await call.services.upgrades.upgrade(call.who, room_id, version, body.additional_creators)
    return {"replacement_room": new}
