"""The other servers in rooms: those to which what happens there is told."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.ids import ServerName
from homeserver.model.nids import RoomNid
from homeserver.storage.room_servers import RoomServers

NOBODY: frozenset[ServerName] = frozenset()


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Knows with which servers a room is shared."""

    own: ServerName
    servers: RoomServers

    def of(self, conn: Connection, room: RoomNid) -> frozenset[ServerName]:
        """Return the other servers that have a user joined to a room."""
        found = self.servers.servers(conn, room)
        return found - {self.own} if len(found) > 1 or self.own not in found else NOBODY

    def of_rooms(self, conn: Connection, rooms: Iterable[RoomNid]) -> frozenset[ServerName]:
        """Return the other servers that are in any of these rooms."""
        return NOBODY.union(*(self.of(conn, room) for room in rooms))

    def is_resident(self, conn: Connection, room: RoomNid) -> bool:
        """Return whether somebody of this server is joined to a room, so that what is known of it is up to date."""
        return self.own in self.servers.servers(conn, room)
