"""The only ways to what a user may see of a room. What one may not look at, one is not told to exist.

Events beyond the mere membership pass `homeserver.services.visibility`.
"""

from sqlalchemy import Connection

from federation.core.events.content import Membership
from federation.core.ids import RoomID
from homeserver.errors import Forbidden
from homeserver.model.nids import RoomNid, UserNid
from homeserver.model.rooms import RoomMembership
from homeserver.storage import memberships
from homeserver.storage.names import Names

NOT_IN_ROOM = "You are not in this room"


def joined_room(conn: Connection, names: Names, user: UserNid, room_id: RoomID) -> RoomNid:
    """Return the number of a room that the user has joined. Raises `Forbidden`."""
    standing = membership(conn, names, user, room_id)
    if standing is None or standing.membership is not Membership.JOIN:
        raise Forbidden(NOT_IN_ROOM)
    return standing.room


def membership(conn: Connection, names: Names, user: UserNid, room_id: RoomID) -> RoomMembership | None:
    """Return how the user stands to a room, or None if they have nothing to do with it or it does not exist."""
    room = names.room(conn, room_id)
    return memberships.of_user_in(conn, room, user) if room is not None else None
