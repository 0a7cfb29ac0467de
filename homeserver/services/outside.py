"""Memberships of our users in rooms that this server is not in: invites, knocks, and how these end.

Such a membership rests on one event, whose room's state is not known here. It is stored apart from any history, and
nothing in the room can stand on it. When the server joins the room, the event is among its state, and judged with it.
"""

from dataclasses import dataclass

from federation.core.events.content import Membership
from federation.core.events.pdu import Pdu
from federation.core.ids import UserID
from homeserver.clock import Clock
from homeserver.model.events import Event, Status
from homeserver.model.nids import EventNid, RoomNid
from homeserver.model.rooms import RoomMembership
from homeserver.services.live import Live
from homeserver.storage import memberships, rooms
from homeserver.storage.database import Write
from homeserver.storage.events import Events, Standing
from homeserver.storage.memberships import NewMembership
from homeserver.storage.names import Names


@dataclass(frozen=True, slots=True)
class OutsideMemberships:
    """Keeps how users stand to rooms of others."""

    names: Names
    events: Events
    live: Live
    clock: Clock

    def store(self, tx: Write, pdu: Pdu, stripped_state: bytes | None = None) -> Event:
        """Store a membership event of a user of this server in a room that it is not in; return it as stored.

        `stripped_state` is what the user is told of the room, a JSON list. The caller has checked the event, and that
        nobody of this server is in the room.
        """
        room = self.names.room(tx.conn, pdu.room_id)
        if room is None:
            room = rooms.create(tx, self.names, pdu.room_id, pdu.version, self.clock.now_ms()).nid
        user_id = UserID(pdu.state_key or "")
        user = self.names.intern_user(tx, user_id)
        standing = memberships.of_user_in(tx.conn, room, user)
        event = self.events.by_id(tx.conn, pdu.event_id)
        if event is not None and standing is not None and standing.event == event.nid:
            return event
        position = tx.position()
        if event is None:
            event = self._insert(tx, pdu, EventNid(position), room, standing)
        name, avatar = pdu.content.get("displayname"), pdu.content.get("avatar_url")
        new = NewMembership(
            user=user,
            membership=Membership(pdu.content["membership"]),
            event=event.nid,
            sender=event.sender_nid,
            display_name=_text(name),
            avatar_url=_text(avatar),
            stripped_state=stripped_state,
        )
        memberships.store(tx, room, position, [new])
        tx.after_commit(self.live.member_moved, position, user, room, False)
        return event

    def _insert(self, tx: Write, pdu: Pdu, nid: EventNid, room: RoomNid, standing: RoomMembership | None) -> Event:
        slot = self.names.intern_slot(tx, pdu.type, pdu.state_key or "")
        replaces = standing.event if standing is not None else None
        at = Standing(status=Status.UNJUDGED, slot=slot, replaces=replaces)
        return self.events.insert(tx, pdu, nid=nid, room=room, standing=at)


def _text(value: object) -> str | None:
    # PostgreSQL's texts hold no NUL.
    return value.replace("\0", "") if isinstance(value, str) else None
