"""The published room directory: https://spec.matrix.org/v1.19/client-server-api/#published-room-directory."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from federation.core.ids import RoomID, ServerName
from homeserver.errors import Forbidden, InvalidParam, NotFound, UserSuspended
from homeserver.model.accounts import Requester
from homeserver.model.nids import RoomNid
from homeserver.services.aliases import may_publish
from homeserver.services.remote_public_rooms import RemotePublicRooms
from homeserver.services.room_views import RoomViews
from homeserver.services.timeline import Timeline
from homeserver.storage import rooms
from homeserver.storage.database import Database, Write

USUAL_PAGE = 100
LARGEST_PAGE = 500

FIRST: str | None = None
"""The token of the first page."""
LAST = "p0_999999999999999"
"""The token of the last page: before all that could come after it."""

_token = re.compile(r"([np])(\d{1,15})_(\d{1,15})").fullmatch


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rooms are asked for."""

    search: str = ""
    room_types: Collection[str | None] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether all rooms pass."""
        return not self.search and self.room_types is None


@dataclass(frozen=True, slots=True)
class PublicRooms:
    """The list of rooms that this server advertises, and those of other servers."""

    db: Database
    timeline: Timeline
    views: RoomViews
    elsewhere: RemotePublicRooms

    async def is_published(self, room_id: RoomID) -> bool:
        """Return whether a room is listed. Raises `NotFound`."""

        def read(conn: Connection) -> bool:
            room = self.timeline.names.room(conn, room_id)
            if room is None:
                raise NotFound("There is no such room here")
            return rooms.is_published(conn, room)

        return await self.db.read(read)

    async def publish(self, who: Requester, room_id: RoomID, published: bool) -> None:
        """List a room or take it out.

        For administrators, and for those who may say by which aliases the room is known. Raises `NotFound` or
        `Forbidden`.
        """
        if who.suspended:
            raise UserSuspended("Your account is suspended")

        def write(tx: Write) -> None:
            room = self.timeline.names.room(tx.conn, room_id)
            if room is None:
                raise NotFound("There is no such room here")
            if not who.admin and not may_publish(self.timeline.turn(tx, room), self.timeline, who):
                raise Forbidden("You may not change whether this room is listed")
            rooms.publish(tx, room, published)

        await self.db.write(write)

    async def page_of(
        self, server: ServerName | None, wanted: Filter, *, limit: int | None, since: str | None
    ) -> Mapping[str, Any]:
        """Return a page of a server's list, of this one if none is named. Raises what `page` and `asking` raise."""
        if server is None or server == self.elsewhere.own:
            return await self.page(wanted, limit=limit, since=since)
        room_types = list(wanted.room_types) if wanted.room_types is not None else None
        return await self.elsewhere.page(server, wanted.search, room_types, limit=limit, since=since)

    async def page(self, wanted: Filter, *, limit: int | None, since: str | None) -> Mapping[str, Any]:
        """Return a page of the list, the largest rooms first, with tokens for the pages beside it.

        A token names the room at the edge of its page, so that a list which changes meanwhile skips nothing that stays.
        Raises `InvalidParam` for a token that is none of ours.
        """
        # Zero has always meant: as many as you like.
        size = min(limit or USUAL_PAGE, LARGEST_PAGE)
        back, edge = _parse(since) if since else (False, None)

        def read(conn: Connection) -> Mapping[str, Any]:
            listed = self._matching(conn, wanted)
            keys = [(-joined, nid) for joined, nid in listed]
            if edge is None:
                start, end = 0, size
            elif back:
                end = sum(key < edge for key in keys)
                start = max(0, end - size)
            else:
                start = sum(key <= edge for key in keys)
                end = start + size
            shown = keys[start:end]
            views = self.views.load(conn, [nid for _, nid in shown])
            page: dict[str, Any] = {
                "chunk": [views[nid].published() for _, nid in shown if nid in views],
                "total_room_count_estimate": len(keys),
            }
            if shown and end < len(keys):
                page["next_batch"] = _format("n", shown[-1])
            if shown and start > 0:
                page["prev_batch"] = _format("p", shown[0])
            return page

        return await self.db.read(read)

    def _matching(self, conn: Connection, wanted: Filter) -> list[tuple[int, RoomNid]]:
        listed = rooms.published(conn)
        if wanted.is_empty:
            return listed
        views = self.views.load(conn, [nid for _, nid in listed])
        term = wanted.search.casefold()
        found = []
        for joined, nid in listed:
            view = views.get(nid)
            if view is None or (wanted.room_types is not None and view.room_type not in wanted.room_types):
                continue
            texts = (view.text("m.room.name", "name"), view.topic, view.canonical_alias)
            if not term or any(term in text.casefold() for text in texts if text is not None):
                found.append((joined, nid))
        return found


def after(joined: int, room: RoomNid) -> str:
    """Return the token of the page after a room that has so many members."""
    return _format("n", (-joined, room))


def before(token: str) -> str:
    """Return the token of the page before the room that a token of `after` names."""
    return f"p{token[1:]}"


def _parse(token: str) -> tuple[bool, tuple[int, int]]:
    match = _token(token)
    if match is None:
        raise InvalidParam("since: not a token of this list")
    return match[1] == "p", (-int(match[2]), int(match[3]))


def _format(direction: str, key: tuple[int, int]) -> str:
    return f"{direction}{-key[0]}_{key[1]}"
