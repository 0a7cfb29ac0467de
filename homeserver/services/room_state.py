"""Reading a room's state and its members: the current state for who is there, the last they saw for who has left.

Source: https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.events.content import Membership
from federation.core.ids import RoomID
from homeserver.errors import NotFound
from homeserver.model.accounts import Requester
from homeserver.model.events import Event
from homeserver.model.nids import SnapshotNid
from homeserver.model.rooms import Member
from homeserver.services import access
from homeserver.services.rendering import Rendering
from homeserver.services.visibility import MEMBER, Reach, Visibility
from homeserver.storage import memberships
from homeserver.storage.database import Database
from homeserver.storage.events import Events, in_order
from homeserver.storage.names import Names
from homeserver.storage.snapshots import Snapshots


@dataclass(frozen=True, slots=True)
class RoomState:
    """Reads the state of rooms for their users."""

    db: Database
    names: Names
    events: Events
    snapshots: Snapshots
    visibility: Visibility
    rendering: Rendering

    async def all(self, who: Requester, room_id: RoomID) -> list[bytes]:
        """Return the state events of a room, each as JSON. Raises `Forbidden`."""

        def read(conn: Connection) -> list[bytes]:
            reach = self.visibility.reach(conn, who.user, room_id)
            return self.rendering.state(conn, who, self._events(conn, reach.snapshot), room_id=True)

        return await self.db.read(read)

    async def content(self, who: Requester, room_id: RoomID, event_type: str, state_key: str) -> bytes:
        """Return the content of one state event, as JSON. Raises `Forbidden`, `NotFound`."""
        return await self._entry(who, room_id, event_type, state_key, lambda _conn, event: event.content_json)

    async def event(self, who: Requester, room_id: RoomID, event_type: str, state_key: str) -> bytes:
        """Return one state event, as JSON. Raises `Forbidden`, `NotFound`."""

        def render(conn: Connection, event: Event) -> bytes:
            return self.rendering.state(conn, who, [event], room_id=True)[0]

        return await self._entry(who, room_id, event_type, state_key, render)

    async def members(
        self, who: Requester, room_id: RoomID, *, at: int | None, membership: Membership | None,
        not_membership: Membership | None,
    ) -> list[bytes]:  # fmt: skip
        """Return the `m.room.member` events of a room, each as JSON; at a place in the stream, if one is given.

        With both filters, what passes one of them is returned. Raises `Forbidden`.
        """

        def read(conn: Connection) -> list[bytes]:
            reach = self.visibility.reach(conn, who.user, room_id)
            snapshot = self._snapshot_at(conn, who, reach, at) if at is not None else reach.snapshot
            found = self._events(conn, snapshot) if snapshot is not None else []
            shown = [
                event
                for event in found
                if event.type == MEMBER and _passes(event.content.get("membership"), membership, not_membership)
            ]
            return self.rendering.state(conn, who, shown, room_id=True)

        return await self.db.read(read)

    async def joined_members(self, who: Requester, room_id: RoomID) -> list[Member]:
        """Return who is in a room that the user is in. Raises `Forbidden`."""

        def read(conn: Connection) -> list[Member]:
            room = access.joined_room(conn, self.names, who.user, room_id)
            return memberships.members(conn, room, [Membership.JOIN])

        return await self.db.read(read)

    async def joined_rooms(self, who: Requester) -> list[RoomID]:
        """Return the rooms that a user has joined."""

        def read(conn: Connection) -> list[RoomID]:
            rooms = memberships.joined_rooms(conn, who.user)
            return list(self.names.room_ids(conn, rooms).values())

        return await self.db.read(read)

    async def _entry(
        self, who: Requester, room_id: RoomID, event_type: str, state_key: str,
        shape: Callable[[Connection, Event], bytes],
    ) -> bytes:  # fmt: skip
        def read(conn: Connection) -> bytes:
            reach = self.visibility.reach(conn, who.user, room_id)
            slot = self.names.slot(conn, event_type, state_key)
            nid = self.snapshots.standing(conn, [reach.snapshot], [slot])[reach.snapshot][0] if slot else None
            if nid is None:
                raise NotFound("The room has no such state")
            return shape(conn, self.events.by_nid(conn, nid))

        return await self.db.read(read)

    def _events(self, conn: Connection, snapshot: SnapshotNid) -> list[Event]:
        nids = sorted(self.snapshots.state(conn, snapshot).values())
        return in_order(self.events.by_nids(conn, nids), nids)

    def _snapshot_at(self, conn: Connection, who: Requester, reach: Reach, at: int) -> SnapshotNid | None:
        """Return the state at a place, or what the user sees as the room's where they may not see that place."""
        if at >= reach.until:
            return reach.snapshot
        nid = self.events.latest_at(conn, reach.room, at)
        if nid is None:
            return None
        event = self.events.by_nid(conn, nid)
        if not self.visibility.seen(conn, reach.user, who.user_id, [event]):
            return reach.snapshot
        return event.state_then


def _passes(membership: object, wanted: Membership | None, unwanted: Membership | None) -> bool:
    if wanted is None and unwanted is None:
        return True
    return (wanted is not None and membership == wanted) or (unwanted is not None and membership != unwanted)
