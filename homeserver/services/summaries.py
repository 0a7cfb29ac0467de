"""Room summaries: https://spec.matrix.org/v1.19/client-server-api/#room-summaries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from federation.core.events.content import Membership
from federation.core.ids import RoomAlias, RoomID
from homeserver.errors import NotFound
from homeserver.model.accounts import Requester
from homeserver.services.aliases import find_room
from homeserver.services.room_views import RoomViews
from homeserver.storage.database import Database


@dataclass(frozen=True, slots=True)
class Summaries:
    """Tells what a room is about before one joins it."""

    db: Database
    views: RoomViews

    async def of_room(self, who: Requester | None, room: RoomID | RoomAlias) -> Mapping[str, Any]:
        """Return a room's summary, with the membership of who asks.

        Raises `NotFound` if the room is not here, and just so if it is not for them to see. Who is nobody sees the
        rooms that are open to all.
        """
        user = who.user if who is not None else None

        def read(conn: Connection) -> Mapping[str, Any]:
            nid = find_room(conn, self.views.names, room)
            views = self.views.load(conn, [nid])
            standings = self.views.standings(conn, user, [nid])
            view = views.get(nid)
            if view is None or not (view.is_open or self.views.accessible(conn, user, views, standings)):
                raise NotFound(f"There is no room {room} here")
            summary = view.summary()
            if who is not None:
                summary["membership"] = str(standings.get(nid, Membership.LEAVE))
            return summary

        return await self.db.read(read)
