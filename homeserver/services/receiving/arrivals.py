"""Events of others go into their room, each after what it builds on; what is lacking is fetched first.

Whoever calls holds the room's turn (`homeserver.services.room_turns`).
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from federation.core.auth.receipt import Received, Verdict, VerdictKind
from federation.core.ids import EventID, ServerName
from federation.matrix.errors import FederationError
from homeserver.errors import MatrixError
from homeserver.model.rooms import Room
from homeserver.services.intake import Gap, Intake
from homeserver.services.policy.asking import PolicedWrites
from homeserver.services.receiving.missing import MOST_STATES, Gathered, MissingEvents, State
from homeserver.services.receiving.order import in_order
from homeserver.storage import rooms
from homeserver.storage.database import Database, Write

log = structlog.get_logger()

FETCHING_SECONDS = 40.0
"""How long what some events lack is fetched; what is not there by then comes with a later event."""
EVENTS_A_WRITE = 100
FORKED = 5
"""Extremities from which on events are written one by one: each that changes state may cost a resolution of all
branches inside its write, and the rest of the server shall not wait for many of these together."""

Verdicts = dict[EventID, Verdict]
_LACKING = Verdict(VerdictKind.DROPPED, "what the event builds on could not be fetched")
_BROKEN = Verdict(VerdictKind.DROPPED, "the event could not be stored")


@dataclass(slots=True)
class _Outcome:
    verdicts: Verdicts
    gaps: dict[EventID, set[EventID]]
    """Events that were not taken, and what they lack."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Takes verified events into rooms."""

    db: Database
    policed: PolicedWrites
    intake: Intake
    missing: MissingEvents

    async def take(self, room: Room, server: ServerName, received: Mapping[EventID, Received]) -> Verdicts:
        """Take events that `server` has sent, and what they build on; return what became of each. One that fails does
        not keep the others from being taken."""
        outcome = await self._store(room, in_order(received), {})
        if outcome.gaps:
            try:
                async with asyncio.timeout(FETCHING_SECONDS):
                    await self._complete(room, server, received, outcome)
            except TimeoutError:
                log.warning("missing_events_too_slow", room_id=room.room_id, server=server)
        return {event_id: outcome.verdicts.get(event_id, _LACKING) for event_id in received}

    async def _complete(
        self, room: Room, server: ServerName, received: Mapping[EventID, Received], outcome: _Outcome
    ) -> None:
        """Fetch what events lack, and take them after it; see `MissingEvents`."""
        gathered = Gathered({event_id: received[event_id] for event_id in received if event_id in outcome.gaps})
        missing = {each for lacking in outcome.gaps.values() for each in lacking}
        prevs = {prev for each in gathered.events.values() for prev in each.event.prev_events}
        log.info("missing_events", room_id=room.room_id, server=server, events=len(outcome.gaps), missing=len(missing))
        try:
            await self.missing.between(room, server, gathered, missing & prevs)
            await self.missing.authorise(room, server, gathered)
        except FederationError as error:
            log.info("missing_events_not_given", room_id=room.room_id, server=server, reason=str(error))
        await self._again(room, gathered, outcome)
        for _ in range(MOST_STATES):
            edge = next((r for r in in_order(gathered.events) if r.event.event_id in outcome.gaps), None)
            if edge is None:
                return
            event_id = edge.event.event_id
            try:
                gathered.states[event_id] = await self.missing.state(room, server, event_id)
            except FederationError as error:
                log.info("state_not_given", room_id=room.room_id, server=server, event_id=event_id, reason=str(error))
                gathered.events.pop(event_id)
                continue
            await self._again(room, gathered, outcome)
            # With its state an event lacks nothing, or nothing helps.
            gathered.events.pop(event_id, None)

    async def _again(self, room: Room, gathered: Gathered, outcome: _Outcome) -> None:
        """Try to take what is gathered; what could be is gathered no more."""
        new = await self._store(room, in_order(gathered.events), gathered.states)
        outcome.verdicts.update(new.verdicts)
        outcome.gaps.clear()
        outcome.gaps.update(new.gaps)
        for event_id in new.verdicts:
            gathered.events.pop(event_id, None)

    async def _store(self, room: Room, ordered: Sequence[Received], states: Mapping[EventID, State]) -> _Outcome:
        outcome = _Outcome({}, {})
        start = 0
        while start < len(ordered):
            part = ordered[start : start + await self._at_once(room, len(ordered) - start)]
            start += len(part)
            await self._prepare(room, part, states)
            try:
                new = await self._write(room, part, states)
            except Exception:
                # One of them is to blame; the others shall not suffer for it.
                log.exception("events_not_stored", room_id=room.room_id, events=len(part))
                new = await self._one_by_one(room, part, states)
            outcome.verdicts.update(new.verdicts)
            outcome.gaps.update(new.gaps)
        return outcome

    async def _at_once(self, room: Room, left: int) -> int:
        """Return how many of the events that are left go into one write."""
        if left == 1:
            return 1
        head = await self.db.read(lambda conn: rooms.load(conn, room.nid))
        return EVENTS_A_WRITE if len(head.extremities) < FORKED else 1

    async def _prepare(self, room: Room, part: Sequence[Received], states: Mapping[EventID, State]) -> None:
        """Let the states where branches meet be resolved before the write, which others wait for."""
        among = {received.event.event_id for received in part}
        meeting = [
            received.event.prev_events
            for received in part
            if received.event.event_id not in states and among.isdisjoint(received.event.prev_events)
        ]

        def read(conn: Connection) -> None:
            for prev_events in meeting:
                self.intake.prepare(conn, room.nid, prev_events)

        if meeting:
            await self.db.read(read)

    async def _write(self, room: Room, part: Sequence[Received], states: Mapping[EventID, State]) -> _Outcome:
        events = [received.event for received in part]
        return await self.policed.write(lambda tx: self._take(tx, room, part, states), events)

    def _take(self, tx: Write, room: Room, part: Iterable[Received], states: Mapping[EventID, State]) -> _Outcome:
        outcome = _Outcome({}, {})
        for received in part:
            event_id = received.event.event_id
            try:
                outcome.verdicts[event_id] = self.intake.take(tx, room.nid, received, state_before=states.get(event_id))
            except Gap as gap:
                outcome.gaps[event_id] = set(gap.missing)
        return outcome

    async def _one_by_one(self, room: Room, part: Iterable[Received], states: Mapping[EventID, State]) -> _Outcome:
        outcome = _Outcome({}, {})
        for received in part:
            try:
                new = await self._write(room, [received], states)
            except MatrixError as error:
                outcome.verdicts[received.event.event_id] = Verdict(VerdictKind.DROPPED, error.message)
            except Exception:
                log.exception("event_not_stored", room_id=room.room_id, event_id=received.event.event_id)
                outcome.verdicts[received.event.event_id] = _BROKEN
            else:
                outcome.verdicts.update(new.verdicts)
                outcome.gaps.update(new.gaps)
        return outcome
