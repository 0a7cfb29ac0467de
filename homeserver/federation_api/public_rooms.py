"""The published room directory: https://spec.matrix.org/v1.19/server-server-api/#published-room-directory."""

import msgspec

from homeserver.http.routing import Auth, Call, Json, Routes
from homeserver.services.public_rooms import Filter

routes = Routes()


class ListingQuery(msgspec.Struct):
    """Which page of the list."""

    limit: int | None = None
    since: str | None = None
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


class RoomFilter(msgspec.Struct):
    """Which rooms are asked for."""

    generic_search_term: str | None = None
    room_types: list[str | None] | None = None


class Search(ListingQuery):
    """The body of a search."""

    filter: RoomFilter | None = None


@routes.get("/_matrix/federation/v1/publicRooms", auth=Auth.SERVER)
async def list_public_rooms(call: Call, query: ListingQuery) -> Json:
    """List the rooms that this server advertises."""
    return await _page(call, query, Filter())


@routes.post("/_matrix/federation/v1/publicRooms", auth=Auth.SERVER)
async def search_public_rooms(call: Call, body: Search) -> Json:
    """Search in the rooms that this server advertises."""
    asked = body.filter or RoomFilter()
    return await _page(call, body, Filter(asked.generic_search_term or "", asked.room_types))


async def _page(call: Call, wanted: ListingQuery, rooms: Filter) -> Json:
    if wanted.third_party_instance_id and not wanted.include_all_networks:
        # Rooms of networks that nobody bridges here: there are none.
        return {"chunk": [], "total_room_count_estimate": 0}
    limit = max(wanted.limit, 0) if wanted.limit is not None else None
    return await call.services.public_rooms.page(rooms, limit=limit, since=wanted.since)
