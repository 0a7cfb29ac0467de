"""An invite that is taken back, or a knock that is refused, in a room that this server is not in.

The room's server sends the user's server the event that ends it, though that cannot judge it: it knows nothing of the
room. It believes an event that is signed, is about the user, and cites the membership that it ends. Who knows that
event has seen it in the room, and could do no worse than to let the user be asked again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from federation.core.auth.receipt import Received
from federation.core.errors import BadEvent
from federation.core.events.content import Membership
from federation.core.events.pdu import Pdu
from federation.core.ids import RoomID, UserID
from federation.matrix.keyring import Keyring
from federation.matrix.transactions import read_pdu
from homeserver.services.outside import OutsideMemberships
from homeserver.services.timeline import MEMBER
from homeserver.storage import memberships, rooms
from homeserver.storage.database import Database, Write
from homeserver.storage.events import Events

_ENDS = (str(Membership.LEAVE), str(Membership.BAN))
_PENDING = (Membership.INVITE, Membership.KNOCK)


@dataclass(frozen=True, slots=True)
class Withdrawals:
    """Ends memberships in rooms of others."""

    db: Database
    events: Events
    keyring: Keyring
    outside: OutsideMemberships

    async def take(self, room_id: RoomID, fields: Mapping[str, Any]) -> bool:
        """Take an event if it ends an invite or a knock of a user of this server; return whether it did."""
        if fields.get("type") != MEMBER:
            return False
        pdu = await self.db.read(lambda conn: self._ending(conn, room_id, fields))
        if pdu is None:
            return False
        (outcome,) = await self.keyring.verify_events([pdu])
        if not isinstance(outcome, Received):
            return False

        def write(tx: Write) -> bool:
            if self._ending(tx.conn, room_id, fields) is None:
                return False
            self.outside.store(tx, outcome.event)
            return True

        return await self.db.write(write)

    def _ending(self, conn: Connection, room_id: RoomID, fields: Mapping[str, Any]) -> Pdu | None:
        room = self.outside.names.room(conn, room_id)
        if room is None:
            return None
        try:
            pdu = read_pdu(fields, rooms.load(conn, room).version, room_id)
        except BadEvent:
            return None
        if pdu.type != MEMBER or pdu.state_key is None or pdu.content.get("membership") not in _ENDS:
            return None
        user = self.outside.names.user(conn, UserID(pdu.state_key))
        standing = memberships.of_user_in(conn, room, user) if user is not None else None
        if standing is None or standing.membership not in _PENDING:
            return None
        return pdu if self.events.by_nid(conn, standing.event).event_id in pdu.auth_events else None
