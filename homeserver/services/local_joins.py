"""Joining a room that this server is in: it needs nobody's help, unless nobody here may let the user in."""

from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.events.content import Membership
from federation.core.ids import RoomID, UserID
from homeserver.model.nids import RoomNid, UserNid
from homeserver.services import member_events
from homeserver.services.policy.asking import PolicedWrites
from homeserver.services.successions import Successions
from homeserver.services.timeline import Timeline, Turn
from homeserver.storage import memberships, rooms
from homeserver.storage.database import Write
from homeserver.storage.room_servers import RoomServers


class NotHere(Exception):
    """Nobody of this server is in the room: what it knows of it, if anything, does not count."""


@dataclass(frozen=True, slots=True)
class LocalJoins:
    """Lets users into rooms that this server is in."""

    policed: PolicedWrites
    timeline: Timeline
    successions: Successions
    room_servers: RoomServers

    async def join(self, user: UserNid, user_id: UserID, room_id: RoomID, reason: str | None) -> None:
        """Let a user join; who is in the room already stays there, and nothing is sent.

        Raises `NotHere`, `Forbidden`, and `UnableToAuthoriseJoin` if nobody of this server may let the user in.
        """

        def write(tx: Write) -> None:
            turn = self.turn(tx, room_id)
            standing = memberships.of_user_in(tx.conn, turn.room.nid, user)
            if standing is None or standing.membership is not Membership.JOIN:
                member_events.append(self.timeline, turn, user_id, user_id, Membership.JOIN, reason=reason)
                self.successions.follow(turn, user)

        await self.policed.write(write)

    def turn(self, tx: Write, room_id: RoomID) -> Turn:
        """Take the turn of a room that this server is in. Raises `NotHere`."""
        room = self.timeline.names.room(tx.conn, room_id)
        if room is None or not self.is_here(tx.conn, room):
            raise NotHere(room_id)
        return self.timeline.turn(tx, room)

    def is_here(self, conn: Connection, room: RoomNid) -> bool:
        """Return whether this server is in a room, or was the last to be."""
        servers = self.room_servers.servers(conn, room)
        if servers:
            return self.timeline.server_name in servers
        return rooms.load(conn, room).snapshot is not None
