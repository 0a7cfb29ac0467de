"""What other servers read of the rooms that they are in: events, state, auth chains, the past.

Sources: https://spec.matrix.org/v1.19/server-server-api/#retrieving-events and
https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.ids import EventID, RoomID, ServerName
from homeserver.errors import NotFound
from homeserver.model.events import Event, Status
from homeserver.model.rooms import Room
from homeserver.services.ancestors import Ancestors
from homeserver.services.auth_chains import AuthChains
from homeserver.services.server_access import ServerAccess
from homeserver.services.server_visibility import ServerVisibility
from homeserver.services.states_before import StatesBefore
from homeserver.storage import moments, pdus, rooms
from homeserver.storage.database import Database
from homeserver.storage.events import FIRST, LAST, Events, in_order
from homeserver.storage.pdus import AuthMemory

MOST_EVENTS = 100
"""Events in an answer, whatever the other server asks for."""
MOST_STARTS = 100
"""Events from which another server may go back at once."""
_UNTOLD = (Status.REJECTED, Status.UNJUDGED)
MOST_LOOKED_AT = 1000
"""Events that a search by time looks at, at most, for one that the server may see."""
BATCH = 100


@dataclass(frozen=True, slots=True)
class StateAt:
    """The state before an event and the events that authorise it, each as servers exchange it."""

    state: list[bytes]
    auth_chain: list[bytes]


@dataclass(frozen=True, slots=True)
class StateIds:
    """The IDs of what is in `StateAt`."""

    state: list[EventID]
    auth_chain: list[EventID]


@dataclass(frozen=True, slots=True)
class Serving:
    """Reads rooms for other servers."""

    db: Database
    events: Events
    states: StatesBefore
    access: ServerAccess
    visibility: ServerVisibility
    auth_chains: AuthChains

    async def event(self, origin: ServerName, event_id: EventID) -> bytes:
        """Return one event. Raises `NotFound` also where the server may not know of it, and `Forbidden` by the ACL."""

        def read(conn: Connection) -> bytes:
            event = self.events.by_id(conn, event_id)
            if event is None or event.status in _UNTOLD:
                raise NotFound("Event not found")
            room = rooms.load(conn, event.room)
            if not self.access.is_in(conn, origin, room):
                raise NotFound("Event not found")
            self.access.check_acl(conn, origin, room)
            return self.visibility.forms(conn, origin, room, [event])[0]

        return await self.db.read(read)

    async def state(self, origin: ServerName, room_id: RoomID, event_id: EventID) -> StateAt:
        """Return the state before an event. Raises `Forbidden` for the room, `NotFound` for the event."""

        def read(conn: Connection) -> StateAt:
            room = self.access.shared(conn, origin, room_id)
            event = self._with_state(conn, room, event_id)
            nids = list(self.states.before(conn, event).values())
            memory: AuthMemory = {}
            stored = pdus.load(conn, nids)
            cited = {above for pdu in stored for above in pdus.auth_events(pdu.envelope, memory)}
            chain = self._chain(conn, room, cited, memory)
            if event.nid in self.visibility.seen(conn, origin, room, [event]):
                return StateAt([pdu.json for pdu in stored], chain)
            then = in_order(self.events.by_nids(conn, nids), nids)
            return StateAt(self.visibility.forms(conn, origin, room, then), chain)

        return await self.db.read(read)

    async def state_ids(self, origin: ServerName, room_id: RoomID, event_id: EventID) -> StateIds:
        """Return the IDs of the state before an event. Raises `Forbidden` for the room, `NotFound` for the event."""

        def read(conn: Connection) -> StateIds:
            room = self.access.shared(conn, origin, room_id)
            event = self._with_state(conn, room, event_id)
            memory: AuthMemory = {}
            state = pdus.envelopes(conn, list(self.states.before(conn, event).values()))
            cited = {above for _, envelope in state for above in pdus.auth_events(envelope, memory)}
            chain = self.auth_chains.above(conn, room, cited, memory)
            return StateIds([event_id for event_id, _ in state], sorted(chain))

        return await self.db.read(read)

    async def event_auth(self, origin: ServerName, room_id: RoomID, event_id: EventID) -> list[bytes]:
        """Return the auth chain of an event. Raises `Forbidden` for the room, `NotFound` for the event."""

        def read(conn: Connection) -> list[bytes]:
            room = self.access.shared(conn, origin, room_id)
            event = self._event(conn, room, event_id)
            return self._chain(conn, room, event.pdu.auth_events, {})

        return await self.db.read(read)

    async def backfill(
        self, origin: ServerName, room_id: RoomID, starts: Collection[EventID], limit: int
    ) -> list[bytes]:
        """Return events and what was before them, newest first. Raises `Forbidden`."""

        def read(conn: Connection) -> list[bytes]:
            room = self.access.shared(conn, origin, room_id)
            found = Ancestors(conn, self.events, room).back_from(list(starts)[:MOST_STARTS], min(limit, MOST_EVENTS))
            return self.visibility.forms(conn, origin, room, found)

        return await self.db.read(read)

    async def missing(
        self, origin: ServerName, room_id: RoomID, earliest: Collection[EventID], latest: Collection[EventID], *,
        limit: int, min_depth: int,
    ) -> list[bytes]:  # fmt: skip
        """Return events before the `latest` ones that do not lead beyond the `earliest`, oldest first.

        Raises `Forbidden`.
        """

        def read(conn: Connection) -> list[bytes]:
            room = self.access.shared(conn, origin, room_id)
            ancestors = Ancestors(conn, self.events, room)
            found = ancestors.between(
                set(earliest), list(latest)[:MOST_STARTS], limit=min(limit, MOST_EVENTS), min_depth=min_depth
            )
            return self.visibility.forms(conn, origin, room, found)

        return await self.db.read(read)

    async def at_time(self, origin: ServerName, room_id: RoomID, ts: int, *, backwards: bool) -> tuple[EventID, int]:
        """Return the event nearest to a time, from it on or back, and its timestamp.

        Raises `Forbidden` for the room, `NotFound` if there is none that the server may see.
        """

        def read(conn: Connection) -> tuple[EventID, int]:
            room = self.access.shared(conn, origin, room_id)
            moment, beyond = ts, LAST if backwards else FIRST
            for _ in range(MOST_LOOKED_AT // BATCH):
                near = moments.near(conn, room.nid, moment, beyond, LAST, limit=BATCH, backwards=backwards)
                nids = [nid for nid, _, _ in near]
                batch = in_order(self.events.by_nids(conn, nids), nids)
                seen = self.visibility.seen(conn, origin, room, batch)
                for event in batch:
                    if event.nid in seen:
                        return event.event_id, event.sent_at
                if len(near) < BATCH:
                    break
                _, beyond, moment = near[-1]
            direction = "backward" if backwards else "forward"
            raise NotFound(f"Unable to find an event from {ts} in {direction} direction")

        return await self.db.read(read)

    def _event(self, conn: Connection, room: Room, event_id: EventID) -> Event:
        event = self.events.by_id(conn, event_id)
        if event is None or event.room != room.nid or event.status in _UNTOLD:
            raise NotFound("Event not found")
        return event

    def _with_state(self, conn: Connection, room: Room, event_id: EventID) -> Event:
        event = self._event(conn, room, event_id)
        if event.snapshot is None:
            raise NotFound("The state at this event is not known")
        return event

    def _chain(self, conn: Connection, room: Room, cited: Iterable[EventID], memory: AuthMemory) -> list[bytes]:
        return chain_json(conn, room, self.auth_chains.above(conn, room, cited, memory))


def chain_json(conn: Connection, room: Room, event_ids: Collection[EventID]) -> list[bytes]:
    """Return the events of an auth chain as servers exchange them, oldest first."""
    stored = pdus.load_in_room(conn, room.nid, event_ids)
    stored.sort(key=lambda pdu: pdu.depth)
    return [pdu.json for pdu in stored]
