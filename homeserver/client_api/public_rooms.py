"""The published room directory: https://spec.matrix.org/v1.19/client-server-api/#published-room-directory."""

from typing import Annotated, Literal

import msgspec

from federation.core.errors import InvalidIdentifier
from federation.core.ids import RoomID, ServerName, parse_server_name
from homeserver.errors import InvalidParam
from homeserver.http.routing import Auth, Call, Json, Routes
from homeserver.services.public_rooms import Filter

routes = Routes()

Limit = Annotated[int, msgspec.Meta(ge=0)]


class ListingQuery(msgspec.Struct):
    """Which page of the list, of which server."""

    limit: Limit | None = None
    since: str | None = None
    server: str | None = None


class ServerQuery(msgspec.Struct):
    """Whose list is asked for."""

    server: str | None = None


class RoomFilter(msgspec.Struct):
    """Which rooms to show."""

    generic_search_term: str | None = None
    room_types: list[str | None] | None = None


class Search(msgspec.Struct):
    """The body of a search in the list."""

    limit: Limit | None = None
    since: str | None = None
    filter: RoomFilter | None = None
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


class Visibility(msgspec.Struct):
    """Whether a room is to be listed."""

    visibility: Literal["public", "private"] = "public"


@routes.get("/_matrix/client/v3/publicRooms", auth=Auth.NONE)
async def list_public_rooms(call: Call, query: ListingQuery) -> Json:
    """List the rooms that the server advertises."""
    server = _server(query.server)
    return await call.services.public_rooms.page_of(server, Filter(), limit=query.limit, since=query.since)


@routes.post("/_matrix/client/v3/publicRooms")
async def search_public_rooms(call: Call, query: ServerQuery, body: Search) -> Json:
    """Search in the rooms that the server advertises."""
    server = _server(query.server)
    if body.third_party_instance_id and not body.include_all_networks:
        # Rooms of networks that nobody bridges here: there are none.
        return {"chunk": [], "total_room_count_estimate": 0}
    asked = body.filter or RoomFilter()
    wanted = Filter(asked.generic_search_term or "", asked.room_types)
    return await call.services.public_rooms.page_of(server, wanted, limit=body.limit, since=body.since)


@routes.get("/_matrix/client/v3/directory/list/room/{room_id}", auth=Auth.NONE)
async def get_visibility(call: Call, room_id: RoomID) -> Json:
    """Say whether a room is listed."""
    published = await call.services.public_rooms.is_published(room_id)
    return {"visibility": "public" if published else "private"}


@routes.put("/_matrix/client/v3/directory/list/room/{room_id}")
async def set_visibility(call: Call, room_id: RoomID, body: Visibility) -> Json:
    """List a room, or take it out of the list."""
    await call.services.public_rooms.publish(call.who, room_id, body.visibility == "public")
    return {}


def _server(name: str | None) -> ServerName | None:
    try:
        return parse_server_name(name) if name else None
    except InvalidIdentifier as error:
        raise InvalidParam(f"server: {error}") from error
