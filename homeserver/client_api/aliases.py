"""Addresses of rooms: https://spec.matrix.org/v1.19/client-server-api/#room-aliases."""

import msgspec

from federation.core.errors import InvalidIdentifier
from federation.core.ids import RoomAlias, RoomID, parse_room_id
from homeserver.errors import InvalidParam
from homeserver.http.routing import Auth, Call, Json, Routes

routes = Routes()


class AliasTarget(msgspec.Struct):
    """The room that an alias is to point to."""

    room_id: str


@routes.put("/_matrix/client/v3/directory/room/{room_alias}")
async def set_alias(call: Call, room_alias: RoomAlias, body: AliasTarget) -> Json:
    """Make an alias."""
    try:
        room_id = parse_room_id(body.room_id)
    except InvalidIdentifier as error:
        raise InvalidParam(f"room_id: {error}") from error
    await call.services.aliases.create(call.who, room_alias, room_id)
    return {}


@routes.get("/_matrix/client/v3/directory/room/{room_alias}", auth=Auth.NONE)
async def resolve_alias(call: Call, room_alias: RoomAlias) -> Json:
    """Say which room an alias points to."""
    room_id, servers = await call.services.aliases.resolve(room_alias)
    return {"room_id": room_id, "servers": servers}


@routes.delete("/_matrix/client/v3/directory/room/{room_alias}")
async def delete_alias(call: Call, room_alias: RoomAlias) -> Json:
    """Delete an alias."""
    await call.services.aliases.delete(call.who, room_alias)
    return {}


@routes.get("/_matrix/client/v3/rooms/{room_id}/aliases")
async def local_aliases(call: Call, room_id: RoomID) -> Json:
    """List the aliases of a room on this server."""
    return {"aliases": await call.services.aliases.of_room(call.who, room_id)}
