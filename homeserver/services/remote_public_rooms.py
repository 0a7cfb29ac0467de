"""The lists of rooms that other servers advertise.

Source: https://spec.matrix.org/v1.19/server-server-api/#published-room-directory
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.core.ids import ServerName
from federation.matrix.client import FederationClient
from federation.matrix.expiring import Expiring
from homeserver.clock import Clock
from homeserver.errors import OtherServerFailed
from homeserver.services.elsewhere import asking, room_told

KEPT_SECONDS = 60.0
MOST_KEPT = 500
MOST_ROOMS = 1_000
"""Rooms of one page; those after them are not passed on."""
TEXTS = ("avatar_url", "canonical_alias", "join_rule", "name", "room_type", "topic")


@dataclass(frozen=True, slots=True)
class _Page:
    """Which page of which server's list."""

    server: ServerName
    search: str
    room_types: tuple[str | None, ...] | None
    limit: int | None
    since: str | None


class RemotePublicRooms:
    """Asks for pages, and keeps them for a minute: a client that scrolls asks for them again and again."""

    def __init__(self, own: ServerName, client: FederationClient, clock: Clock) -> None:
        """Take the name of this server, and how to ask others."""
        self.own = own
        self._client = client
        self._kept: Expiring[_Page, Mapping[str, Any]] = Expiring(self._ask, clock.monotonic, MOST_KEPT)

    async def page(
        self, server: ServerName, search: str, room_types: Sequence[str | None] | None, *,
        limit: int | None, since: str | None,
    ) -> Mapping[str, Any]:  # fmt: skip
        """Return a page of a server's list. Raises what `asking` raises."""
        types = tuple(room_types) if room_types is not None else None
        return await self._kept.get(_Page(server, search, types, limit, since))

    async def _ask(self, page: _Page) -> tuple[Mapping[str, Any], float]:
        wanted: dict[str, Any] = {}
        if page.search:
            wanted["generic_search_term"] = page.search
        if page.room_types is not None:
            wanted["room_types"] = list(page.room_types)
        with asking(page.server):
            answer = await self._client.public_rooms(
                page.server, limit=page.limit, since=page.since, search=wanted or None
            )
        return _checked(page.server, answer), KEPT_SECONDS


def _checked(server: ServerName, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what of an answer clients may be told. Raises `OtherServerFailed` if it is no list of rooms."""
    chunk = answer.get("chunk")
    if not isinstance(chunk, list):
        raise OtherServerFailed(f"{server} gave no list of rooms")
    rooms = [room for each in chunk[:MOST_ROOMS] if (room := room_told(each, TEXTS)) is not None]
    page: dict[str, Any] = {"chunk": rooms}
    for name in ("next_batch", "prev_batch"):
        if isinstance(answer.get(name), str):
            page[name] = answer[name]
    total = answer.get("total_room_count_estimate")
    if isinstance(total, int) and total >= 0:
        page["total_room_count_estimate"] = total
    return page
