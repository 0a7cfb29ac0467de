"""Which rooms another server may ask about. What it may not look at, it is not told to exist.

Every request of a server that names a room leads through here; the events in an answer then pass
`homeserver.services.server_visibility`.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.acl import server_is_allowed
from federation.core.ids import RoomID, ServerName
from homeserver.errors import Forbidden, NotFound
from homeserver.model.events import Event
from homeserver.model.rooms import Room
from homeserver.storage import rooms
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.room_servers import RoomServers
from homeserver.storage.snapshots import Snapshots

NOT_SHARED = "Your server is not in this room"
SERVER_ACL = ("m.room.server_acl", "")


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """Decides to which rooms a server has access."""

    server_name: ServerName
    names: Names
    events: Events
    snapshots: Snapshots
    room_servers: RoomServers

    def resident(self, conn: Connection, origin: ServerName, room_id: RoomID) -> Room:
        """Return a room that this server can speak for, to a server that wants to do something in it.

        Raises `NotFound` for a room that nobody of this server is in, `Forbidden` for a server that the room refuses.
        """
        room = self._room(conn, room_id)
        if room is None or self.server_name not in self.room_servers.servers(conn, room.nid):
            raise NotFound("This server is not in that room")
        self.check_acl(conn, origin, room)
        return room

    def shared(self, conn: Connection, origin: ServerName, room_id: RoomID) -> Room:
        """Return a room that the asking server is in. Raises `Forbidden`."""
        room = self._room(conn, room_id)
        if room is None or not self.is_in(conn, origin, room):
            raise Forbidden(NOT_SHARED)
        self.check_acl(conn, origin, room)
        return room

    def is_in(self, conn: Connection, origin: ServerName, room: Room) -> bool:
        """Return whether a server has somebody in a room."""
        return origin in self.room_servers.servers(conn, room.nid)

    def check_acl(self, conn: Connection, origin: ServerName, room: Room) -> None:
        """Raise `Forbidden` for a server that the room refuses.

        Source: https://spec.matrix.org/v1.19/server-server-api/#server-access-control-lists-acls
        """
        acl = self.entry(conn, room, *SERVER_ACL)
        if acl is not None and not server_is_allowed(origin, acl.content):
            raise Forbidden("The room does not let your server take part")

    def entry(self, conn: Connection, room: Room, event_type: str, state_key: str = "") -> Event | None:
        """Return the event that stands in a slot of a room's current state."""
        slot = self.names.slot(conn, event_type, state_key)
        if slot is None or room.snapshot is None:
            return None
        nid = self.snapshots.standing(conn, [room.snapshot], [slot])[room.snapshot][0]
        return self.events.by_nid(conn, nid) if nid is not None else None

    def _room(self, conn: Connection, room_id: RoomID) -> Room | None:
        nid = self.names.room(conn, room_id)
        return rooms.load(conn, nid) if nid is not None else None
