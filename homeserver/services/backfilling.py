"""A room's past from before this server came: fetched from others when a user pages back to where ours ends.

https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events

One fetch goes on in a room at a time; who comes meanwhile waits for it. Where nobody gives anything, nobody is asked
again for a while.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection

from federation.core.auth.receipt import Received
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName, server_of
from federation.matrix.client import FederationClient
from federation.matrix.errors import FederationError
from homeserver.clock import Clock
from homeserver.model.events import Event
from homeserver.model.rooms import Room
from homeserver.services.fetching import Fetching, Found, objects
from homeserver.services.intake import Intake
from homeserver.services.receiving.missing import Gathered, MissingEvents
from homeserver.services.receiving.order import in_order, reachable
from homeserver.services.room_turns import RoomTurns
from homeserver.services.server_access import ServerAccess
from homeserver.storage import awaited_events, rooms
from homeserver.storage.database import Database

log = structlog.get_logger()

EVENTS = 100
"""Events that are asked for at once."""
MOST_EDGES = 20
"""Events from which they are asked for."""
MOST_SERVERS = 3
MOST_STATES = 3
"""Branches that go on beyond what was given, and whose state is asked for; further ones are cut off."""
SECONDS = 30.0
"""How long a user who pages back waits, at most."""
REST_SECONDS = 60.0
MOST_RESTING = 1000
ROUNDS = 5
"""How often events are fetched to reach a certain one."""


@dataclass(frozen=True, slots=True)
class _Edge:
    """Where our part of a room's past ends."""

    room: Room
    place: int
    """Of the oldest event that is here."""
    missing: list[EventID]
    servers: list[ServerName]


@dataclass(frozen=True, slots=True)
class Backfilling:
    """Fetches what was before."""

    db: Database
    clock: Clock
    access: ServerAccess
    intake: Intake
    fetching: Fetching
    missing: MissingEvents
    client: FederationClient
    _turns: RoomTurns = field(default_factory=RoomTurns)
    _rests: dict[RoomID, float] = field(default_factory=dict)

    async def older(self, room_id: RoomID) -> bool:
        """Fetch some of what was before all that is here; return whether there is more now than before."""
        if self._is_resting(room_id):
            return False
        others = self._turns.is_taken(room_id)
        try:
            async with asyncio.timeout(SECONDS), self._turns.of(room_id):
                # Who has waited for others shall look at what these have fetched.
                if others or await self._fetch(room_id):
                    return True
        except TimeoutError:
            log.info("backfill_too_slow", room_id=room_id)
        self._rest(room_id)
        return False

    def lacks(self, conn: Connection, room_id: RoomID) -> bool:
        """Return whether there is something older than what is here, and somebody to ask for it."""
        return self._edge(conn, room_id) is not None

    async def until(self, room_id: RoomID, event_id: EventID) -> bool:
        """Fetch what was before until a certain event is here; return whether it is."""
        edge = await self.db.read(lambda conn: self._edge(conn, room_id))
        if edge is None or not await self._exists(edge, event_id):
            return False
        for _ in range(ROUNDS):
            if await self.db.read(lambda conn: self._is_placed(conn, event_id)):
                return True
            if not await self.older(room_id):
                break
        return await self.db.read(lambda conn: self._is_placed(conn, event_id))

    async def near(self, room_id: RoomID, ts: int, *, backwards: bool, found: Event | None) -> bool:
        """Fetch the event nearest to a time if others know a nearer one than was found; return whether it is here.

        https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1timestamp_to_eventroomid
        """
        edge = await self.db.read(lambda conn: self._edge(conn, room_id))
        if edge is None or self._is_resting(room_id):
            return False
        # Of what is between our events, none is missing.
        if found is not None and (backwards or found.at > edge.place):
            return False
        for server in edge.servers:
            try:
                answer = await self.client.timestamp_to_event(server, room_id, ts, "b" if backwards else "f")
            except FederationError as error:
                log.info("nearest_event_not_given", room_id=room_id, server=server, reason=str(error))
                continue
            event_id, when = answer.get("event_id"), answer.get("origin_server_ts")
            if not isinstance(event_id, str) or type(when) is not int:
                continue
            if found is not None and abs(when - ts) >= abs(found.sent_at - ts):
                return False
            return await self.until(room_id, EventID(event_id))
        return False

    async def _exists(self, edge: _Edge, event_id: EventID) -> bool:
        """Return whether another server has an event of the room: whoever invents one shall not cost its whole past."""
        for server in edge.servers:
            try:
                found = await self.fetching.events(server, edge.room.room_id, edge.room.version, [event_id])
            except FederationError as error:
                log.info("event_not_given", server=server, event_id=event_id, reason=str(error))
                continue
            if found:
                return True
        return False

    def _is_resting(self, room_id: RoomID) -> bool:
        return self._rests.get(room_id, 0.0) > self.clock.monotonic()

    def _rest(self, room_id: RoomID) -> None:
        now = self.clock.monotonic()
        if len(self._rests) >= MOST_RESTING:
            for other in [other for other, until in self._rests.items() if until <= now]:
                del self._rests[other]
        if len(self._rests) < MOST_RESTING:
            self._rests[room_id] = now + REST_SECONDS

    def _is_placed(self, conn: Connection, event_id: EventID) -> bool:
        event = self.missing.events.by_id(conn, event_id)
        return event is not None and event.place is not None

    async def _fetch(self, room_id: RoomID) -> bool:
        edge = await self.db.read(lambda conn: self._edge(conn, room_id))
        if edge is None:
            return False
        for server in edge.servers:
            try:
                if await self._from(server, edge):
                    return True
            except FederationError as error:
                log.info("backfill_not_given", room_id=room_id, server=server, reason=str(error))
        return False

    def _edge(self, conn: Connection, room_id: RoomID) -> _Edge | None:
        """Return where our past of a room ends; None if it does not, or nobody here is in the room any more."""
        names, own = self.access.names, self.access.server_name
        nid = names.room(conn, room_id)
        if nid is None:
            return None
        servers = self.access.room_servers.servers(conn, nid)
        if own not in servers or len(servers) < 2:
            return None
        awaited = awaited_events.in_room(conn, nid)
        waiting = self.missing.events.by_nids(conn, [by for _, by in awaited])
        # What is awaited may be what somebody redacts, too.
        edges = [
            (waiting[by], event_id)
            for event_id, by in awaited
            if by in waiting and waiting[by].place is not None and event_id in waiting[by].pdu.prev_events
        ]
        edges.sort(key=lambda edge: edge[0].at)
        if not edges:
            return None
        missing = list(dict.fromkeys(event_id for _, event_id in edges))[:MOST_EDGES]
        return _Edge(
            rooms.load(conn, nid), edges[0][0].at, missing, self._likely([event for event, _ in edges], servers)
        )

    def _likely(self, edges: Sequence[Event], servers: frozenset[ServerName]) -> list[ServerName]:
        """Return servers in the room, first those that were there at the edge of what we have."""
        there = [server_of(event.sender) for event in edges]
        found = dict.fromkeys([*there, *sorted(servers)])
        return [server for server in found if server in servers and server != self.access.server_name][:MOST_SERVERS]

    async def _from(self, server: ServerName, edge: _Edge) -> bool:
        room = edge.room
        answer = await self.client.backfill(server, room.room_id, edge.missing, EVENTS)
        found = await self.fetching.read(room.room_id, room.version, objects(answer, "pdus")[: EVENTS + MOST_EDGES])
        placed = await self.db.read(lambda conn: {each for each in found if self._is_placed(conn, each)})
        new = reachable({each: found[each] for each in found if each not in placed}, set(edge.missing))
        if not new:
            return False
        gathered = Gathered(new)
        await self.missing.authorise(room, server, gathered)
        ordered = await self._with_states(server, room, gathered)
        if not ordered:
            return False
        await self.db.write(lambda tx: self.intake.backfilled(tx, room.nid, ordered, gathered.states))
        log.info("backfilled", room_id=room.room_id, server=server, events=len(ordered))
        return True

    async def _with_states(self, server: ServerName, room: Room, gathered: Gathered) -> list[Received]:
        """Return, oldest first, those of the events before which the state is known, or can be found out."""
        cited = {prev for received in gathered.events.values() for prev in received.event.prev_events}
        known = await self.db.read(lambda conn: self._with_state(conn, cited))
        kept: Found = {}
        for received in in_order(gathered.events):
            event = received.event
            if not _follows(event, kept, known):
                if len(gathered.states) >= MOST_STATES:
                    continue
                try:
                    gathered.states[event.event_id] = await self.missing.state(room, server, event.event_id)
                except FederationError as error:
                    log.info("state_not_given", room_id=room.room_id, server=server, reason=str(error))
                    continue
            kept[event.event_id] = received
        return list(kept.values())

    def _with_state(self, conn: Connection, event_ids: set[EventID]) -> set[EventID]:
        found = self.missing.events.by_ids(conn, event_ids)
        return {event_id for event_id, event in found.items() if event.snapshot is not None}


def _follows(event: Pdu, kept: Found, known: set[EventID]) -> bool:
    """Return whether the state before an event follows from that after others. The room's first event has none."""
    return all(prev in kept or prev in known for prev in event.prev_events)
