"""What events of a room build on and this server lacks: fetched from who sent them, within bounds.

https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events

First the events in between are asked for, some rounds of them. Where that does not lead to events that we have, the gap
stays, and the room's state on its near side is asked for instead: its event IDs, and then what we lack of them, one by
one if they are few, else the whole state. Nothing that comes is believed: each event is signed by its sender's server
and judged by the events that authorise it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection

from federation.core.auth.receipt import Received
from federation.core.auth.selection import Slot
from federation.core.ids import EventID, ServerName
from homeserver.model.rooms import Room
from homeserver.services.fetching import Fetching, Found
from homeserver.services.intake import Intake
from homeserver.services.receiving.order import in_order, reachable
from homeserver.storage import received_states, rooms
from homeserver.storage.database import Database, Write
from homeserver.storage.events import Events

log = structlog.get_logger()

ROUNDS = 60
"""How often events in between are asked for; some servers give twenty at once, whatever one asks for."""
MOST_EVENTS = 1000
"""How many are taken, all in all."""
EVENTS_A_ROUND = 100
MOST_EARLIEST = 20
MOST_CHAINS = 5
"""Auth chains that are asked for one after the other, before the rest goes without."""
MOST_STATES = 5
"""Near sides of gaps whose state is asked for."""
FEW_LACKING = 50
"""Lacking events of a state that are asked for one by one; for more the whole state is fetched."""
EVENTS_A_WRITE = 200

State = Mapping[Slot, EventID]


@dataclass(slots=True)
class Gathered:
    """Events that wait to be taken, and what was found out about what they build on."""

    events: Found
    states: dict[EventID, State] = field(default_factory=dict)
    """The state before those of the events whose predecessors nobody has."""


@dataclass(frozen=True, slots=True)
class MissingEvents:
    """Completes the past of events."""

    db: Database
    events: Events
    intake: Intake
    fetching: Fetching

    async def between(self, room: Room, server: ServerName, gathered: Gathered, missing: Iterable[EventID]) -> None:
        """Add to the events those that lie between them and what we have, as far as `server` gives them.

        `missing` are the events that the gathered ones lack. What is from before the time in which somebody here was in
        the room is not among them: on branches of that time lies all of the past. Raises `FederationError`.
        """
        lacking = set(missing)
        earliest = await self._earliest(room)
        depth = await self.db.read(lambda conn: self.events.first_depth(conn, room.nid))
        for _ in range(ROUNDS):
            if not lacking or len(gathered.events) >= MOST_EVENTS:
                return
            latest = [each for each, received in gathered.events.items() if lacking & {*received.event.prev_events}]
            if not latest:
                return
            limit = min(EVENTS_A_ROUND, MOST_EVENTS - len(gathered.events))
            latest = latest[:MOST_EARLIEST]
            found = await self.fetching.missing(server, room.room_id, room.version, earliest, latest, limit, depth)
            # Only what was asked for: a predecessor, or one of such a one.
            new = reachable({each: found[each] for each in found if each not in gathered.events}, lacking)
            if not new:
                return
            gathered.events.update(new)
            cited = {prev for received in new.values() for prev in received.event.prev_events}
            lacking |= await self.db.read(lambda conn, cited=cited: self.intake.stateless(conn, room.nid, cited))  # type: ignore[misc]
            lacking -= gathered.events.keys()

    async def authorise(self, room: Room, server: ServerName, gathered: Gathered) -> None:
        """Store, apart from the room's history, the events that authorise the gathered ones and that we lack.

        Raises `FederationError`.
        """
        unknown = await self._unknown({each for r in gathered.events.values() for each in r.event.auth_events})
        lacking = unknown - gathered.events.keys()
        for _ in range(MOST_CHAINS):
            asking = next((each for each, r in gathered.events.items() if lacking & {*r.event.auth_events}), None)
            if asking is None:
                return
            wanted = lacking & {*gathered.events[asking].event.auth_events}
            told = await self.fetching.auth_chain(server, room.room_id, room.version, asking, wanted)
            # Signatures are what costs: only those are checked that something stands on, and that we lack.
            new = await self._unknown({pdu.event_id for pdu in told})
            chain = await self.fetching.verified(room.room_id, [pdu for pdu in told if pdu.event_id in new])
            lacking -= wanted
            if chain:
                await self._store_apart(room, chain)
                lacking -= chain.keys()

    async def state(self, room: Room, server: ServerName, event_id: EventID) -> State:
        """Return the state before an event as `server` has it, all of it stored apart from the room's history.

        Events that are not valid are no part of it. Raises `FederationError`.
        """
        pdu_ids, chain_ids = await self.fetching.state_ids(server, room.room_id, event_id)
        lacking = await self._unknown({*pdu_ids, *chain_ids})
        if len(lacking) > FEW_LACKING:
            found = await self.fetching.state(server, room.room_id, room.version, event_id, lacking)
        else:
            found = await self.fetching.events(server, room.room_id, room.version, lacking)
        if found:
            await self._store_apart(room, found)
        log.info("state_fetched", room_id=room.room_id, server=server, events=len(pdu_ids), new=len(found))

        def read(conn: Connection) -> State:
            return received_states.slots_of(conn, room.nid, pdu_ids)

        return await self.db.read(read)

    async def _store_apart(self, room: Room, found: Found) -> None:
        ordered = in_order(found)
        for start in range(0, len(ordered), EVENTS_A_WRITE):
            part = ordered[start : start + EVENTS_A_WRITE]

            def write(tx: Write, part: list[Received] = part) -> None:
                self.intake.outliers(tx, room.nid, part)

            await self.db.write(write)

    async def _unknown(self, event_ids: set[EventID]) -> set[EventID]:
        if not event_ids:
            return set()
        return await self.db.read(lambda conn: self.intake.unknown(conn, event_ids))

    async def _earliest(self, room: Room) -> list[EventID]:
        """Return the newest events that we have: nothing before them is wanted."""

        def read(conn: Connection) -> list[EventID]:
            head = rooms.load(conn, room.nid)
            return [event.event_id for event in self.events.by_nids(conn, head.extremities).values()]

        return (await self.db.read(read))[:MOST_EARLIEST]
