"""The lists of rooms that other servers advertise.

Source: https://spec.matrix.org/v1.19/server-server-api/#published-room-directory
"""

from collections.abc import Mapping, Sequence
from typing import Any

from federation.core.ids import ServerName
from federation.matrix.client import FederationClient
from homeserver.clock import Clock
from homeserver.errors import OtherServerFailed
from homeserver.services.elsewhere import asking
from homeserver.services.expiring import Expiring

KEPT_SECONDS = 60.0
MOST_KEPT = 500
MOST_ROOMS = 1_000
"""Rooms of one page; those after them are not passed on."""
TEXTS = ("avatar_url", "canonical_alias", "join_rule", "name", "room_type", "topic")


class RemotePublicRooms:
    """Asks for pages, and keeps them for a minute: a client that scrolls asks for them again and again."""

    def __init__(self, own: ServerName, client: FederationClient, clock: Clock) -> None:
        """Take the name of this server, and how to ask others."""
        self.own = own
        self._client = client
        self._kept: Expiring[tuple[object, ...], Mapping[str, Any]] = Expiring(clock, KEPT_SECONDS, MOST_KEPT)

    async def page(
        self, server: ServerName, search: str, room_types: Sequence[str | None] | None, *,
        limit: int | None, since: str | None,
    ) -> Mapping[str, Any]:  # fmt: skip
        """Return a page of a server's list. Raises what `asking` raises."""
        wanted: dict[str, Any] = {}
        if search:
            wanted["generic_search_term"] = search
        if room_types is not None:
            wanted["room_types"] = list(room_types)

        async def ask() -> Mapping[str, Any]:
            with asking(server):
                answer = await self._client.public_rooms(server, limit=limit, since=since, search=wanted or None)
            return _checked(server, answer)

        key = (server, search, tuple(room_types) if room_types is not None else None, limit, since)
        return await self._kept.get(key, ask)


def _checked(server: ServerName, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what of an answer clients may be told. Raises `OtherServerFailed` if it is no list of rooms."""
    chunk = answer.get("chunk")
    if not isinstance(chunk, list):
        raise OtherServerFailed(f"{server} gave no list of rooms")
    rooms = [room for each in chunk[:MOST_ROOMS] if (room := _room(each)) is not None]
    page: dict[str, Any] = {"chunk": rooms}
    for name in ("next_batch", "prev_batch"):
        if isinstance(answer.get(name), str):
            page[name] = answer[name]
    total = answer.get("total_room_count_estimate")
    if isinstance(total, int) and total >= 0:
        page["total_room_count_estimate"] = total
    return page


def _room(room: object) -> dict[str, Any] | None:
    if not isinstance(room, dict) or not isinstance(room.get("room_id"), str):
        return None
    members = room.get("num_joined_members")
    return {
        "room_id": room["room_id"],
        "num_joined_members": members if isinstance(members, int) and members >= 0 else 0,
        "world_readable": room.get("world_readable") is True,
        "guest_can_join": room.get("guest_can_join") is True,
        **{name: room[name] for name in TEXTS if isinstance(room.get(name), str)},
    }
