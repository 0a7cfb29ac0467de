"""Servers without doors: a database each, and what puts events into rooms. A test carries events from one to others."""

import asyncio
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.auth.receipt import Received, VerdictKind
from federation.core.auth.selection import Slot, auth_slots
from federation.core.events.draft import Draft, build
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName, UserID
from federation.core.room_versions import ROOM_VERSIONS
from homeserver.clock import SystemClock, SystemIds
from homeserver.errors import MatrixError
from homeserver.model.nids import RoomNid, SnapshotNid
from homeserver.services.current_state import CurrentState
from homeserver.services.intake import Gap, Intake
from homeserver.services.live import Live
from homeserver.services.recent import Recent
from homeserver.services.redactions import Redactions
from homeserver.services.resolution import Resolution
from homeserver.services.states_before import StatesBefore
from homeserver.services.timeline import Timeline
from homeserver.storage import memberships, rooms
from homeserver.storage.database import Database, Write, open_database
from homeserver.storage.events import Events
from homeserver.storage.migrations import runner
from homeserver.storage.names import Names
from homeserver.storage.room_servers import RoomServers
from homeserver.storage.schema.rooms import events as events_table
from homeserver.storage.snapshots import Snapshots
from homeserver.storage.snapshots import State as SnapshotState
from tests.support.intake import auth_chain_of
from tests.support.rooms import signing_key

T = TypeVar("T")
State = dict[Slot, EventID]
NO_ROOM = RoomNid(0)


class StandingClock(SystemClock):
    """A clock that goes on by a second whenever someone looks, the same in every run."""

    def __init__(self) -> None:
        """Start at a fixed time."""
        self._now = 1_700_000_000_000

    def now_ms(self) -> int:
        """Return milliseconds since 1970."""
        self._now += 1000
        return self._now


@dataclass
class HeadlessServer:
    """A server that takes events and makes its own, in one room."""

    name: ServerName
    db: Database
    timeline: Timeline
    intake: Intake
    nid: RoomNid = NO_ROOM
    waiting: list[Pdu] = field(default_factory=list)
    """Events of others that have arrived and whose previous events have not."""

    @classmethod
    async def start(cls, name: str, url: str, clock: SystemClock) -> "HeadlessServer":
        """Start on an empty database."""
        db = open_database(url)
        await runner.prepare(db)
        names = Names()
        events, snapshots, live, recent = Events(names), Snapshots(), Live(clock, 0), Recent(0)
        server = ServerName(name)
        timeline = Timeline(
            server, signing_key(name), names, events, snapshots, live, recent, clock, SystemIds(),
            Resolution(names, events, snapshots), CurrentState(server, names, events, live, RoomServers()),
            Redactions(names, events, recent),
        )  # fmt: skip
        return cls(server, db, timeline, Intake(timeline))

    async def creates_room(self, version: str, creator: UserID) -> None:
        """Make a public room."""
        timeline = self.timeline
        room_id = None if ROOM_VERSIONS[version].room_id_is_create_hash else RoomID(f"!room:{self.name}")

        def write(tx: Write) -> None:
            content: dict[str, Any] = {"room_version": version}
            if ROOM_VERSIONS[version].creator_in_content:
                content["creator"] = creator
            turn = timeline.create(tx, ROOM_VERSIONS[version], creator, content, room_id)
            self.nid = turn.room.nid
            users = {} if turn.room.version.creators_have_all_power else {creator: 100}
            for kind, state, key in (
                ("m.room.member", {"membership": "join"}, creator),
                ("m.room.power_levels", {"users": users}, ""),
                ("m.room.join_rules", {"join_rule": "public"}, ""),
            ):
                timeline.append(turn, Draft(turn.room.room_id, kind, creator, state, key))

        await self.db.write(write)

    async def sends(self, sender: UserID, kind: str, content: Mapping[str, Any], key: str | None = None) -> Pdu | None:
        """Send an event; return it, None if the room does not allow it or it says nothing new."""

        def write(tx: Write) -> Pdu | None:
            turn = self.timeline.turn(tx, self.nid)
            before = turn.room.newest
            event = self.timeline.append(turn, Draft(turn.room.room_id, kind, sender, content, key))
            return event.pdu if event.at > before else None

        try:
            return await self.db.write(write)
        except MatrixError:
            return None

    async def joins_by(self, other: "HeadlessServer", user: UserID) -> Pdu:
        """Let a user of this server join the other's room; return the join."""

        def offer(conn: Connection) -> tuple[Pdu, list[Pdu]]:
            head = rooms.load(conn, other.nid)
            state = other._state(conn)
            content = {"membership": "join"}
            slots = auth_slots("m.room.member", user, user, content, head.version)
            events = other.timeline.events
            join = build(
                Draft(head.room_id, "m.room.member", user, content, user), version=head.version,
                prev_events=[event.event_id for event in events.by_nids(conn, head.extremities).values()],
                auth_events=[state[slot] for slot in slots if slot in state], depth=head.depth + 1,
                now_ms=self.timeline.clock.now_ms(), server_name=self.name, key=self.timeline.key, opaque_id="join",
            )  # fmt: skip
            return join, [event.pdu for event in events.by_ids(conn, state.values()).values()]

        join, before = await other.db.read(offer)
        assert await other.take(join) is VerdictKind.ACCEPTED
        chain = await other.db.read(
            lambda conn: auth_chain_of(
                before, lambda event_id: other.timeline.events.by_ids(conn, [event_id])[event_id].pdu
            )
        )
        create = next(event for event in (*before, *chain) if event.type == "m.room.create")

        def begin(tx: Write) -> RoomNid:
            return self.intake.begin(
                tx, join.room_id, join.version, create=Received(create), auth_chain=[Received(each) for each in chain],
                state=[Received(each) for each in before], join=Received(join),
            )  # fmt: skip

        self.nid = await self.db.write(begin)
        return join

    async def take(self, event: Pdu) -> VerdictKind | None:
        """Take an event in; return what became of it, None if something is missing."""
        await self.arrive([event])
        return VerdictKind.ACCEPTED if event not in self.waiting else None

    async def arrive(self, events: Sequence[Pdu]) -> None:
        """Let events of another server arrive; each is taken once its previous events are there."""
        self.waiting += events

        def read(conn: Connection) -> None:
            for event in self.waiting:
                self.intake.prepare(conn, self.nid, event.prev_events)

        def write(tx: Write) -> list[Pdu]:
            waiting = list(self.waiting)
            gone_on = True
            while gone_on:
                gone_on = False
                for event in list(waiting):
                    with suppress(Gap):
                        self.intake.take(tx, self.nid, Received(event))
                        waiting.remove(event)
                        gone_on = True
            return waiting

        await self.db.read(read)
        self.waiting = await self.db.write(write)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Read from the database."""
        return await self.db.read(fn)

    async def state(self) -> State:
        """Return the room's current state."""
        return await self.db.read(self._state)

    def _state(self, conn: Connection) -> State:
        head = rooms.load(conn, self.nid)
        assert head.snapshot is not None
        return self._named(conn, head.snapshot)

    def _named(self, conn: Connection, snapshot: SnapshotNid) -> State:
        return self._with_names(conn, self.timeline.snapshots.state(conn, snapshot))

    def _with_names(self, conn: Connection, state: SnapshotState) -> State:
        timeline = self.timeline
        pairs = timeline.names.slot_pairs(conn, list(state))
        events = timeline.events.by_nids(conn, list(state.values()))
        return {pairs[slot]: events[nid].event_id for slot, nid in state.items()}

    async def states_at_events(self) -> dict[EventID, State]:
        """Return the state after each event that came with its history."""

        def read(conn: Connection) -> dict[EventID, State]:
            placed = sa.select(events_table.c.nid).where(events_table.c.snapshot.is_not(None))
            events = self.timeline.events.by_nids(conn, conn.execute(placed).scalars().all()).values()
            named = {event.snapshot: self._named(conn, event.snapshot) for event in events if event.snapshot}
            return {event.event_id: named[event.snapshot] for event in events if event.snapshot}

        return await self.db.read(read)

    async def states_before_events(self) -> dict[EventID, State]:
        """Return the state before each event that came with its history, as other servers are told of it."""
        before = StatesBefore(self.timeline.snapshots)

        def read(conn: Connection) -> dict[EventID, State]:
            placed = sa.select(events_table.c.nid).where(events_table.c.snapshot.is_not(None))
            events = self.timeline.events.by_nids(conn, conn.execute(placed).scalars().all()).values()
            return {event.event_id: self._with_names(conn, before.before(conn, event)) for event in events}

        return await self.db.read(read)

    async def extremities(self) -> set[EventID]:
        """Return the room's forward extremities."""

        def read(conn: Connection) -> set[EventID]:
            head = rooms.load(conn, self.nid)
            return {event.event_id for event in self.timeline.events.by_nids(conn, head.extremities).values()}

        return await self.db.read(read)

    async def check(self) -> None:
        """Check that what is kept beside the state says the same: memberships, counts, servers."""

        def read(conn: Connection) -> None:
            timeline = self.timeline
            head = rooms.load(conn, self.nid)
            state = {slot: timeline.events.by_id(conn, event_id) for slot, event_id in self._state(conn).items()}
            members = {key: event for (kind, key), event in state.items() if kind == "m.room.member" and event}
            kept = memberships.members(conn, self.nid, ["join", "invite", "knock", "leave", "ban"])  # type: ignore[list-item]
            assert {each.user_id: each.event for each in kept} == {key: event.nid for key, event in members.items()}
            assert {each.user_id: str(each.membership) for each in kept} == {
                key: event.content["membership"] for key, event in members.items()
            }
            joined = [each for each in kept if each.membership == "join"]
            assert head.joined == len(joined)
            assert head.invited == sum(each.membership == "invite" for each in kept)
            servers = timeline.current.servers.servers(conn, self.nid)
            assert servers == {each.user_id.split(":", 1)[1] for each in joined}
            assert len(head.extremities) <= 20

        await self.db.read(read)


async def start_on_sqlite(names: list[str], directory: Path) -> list[HeadlessServer]:
    """Start servers on files of their own in an empty directory."""
    clock, made = StandingClock(), directory / "template.db"
    db = open_database(f"sqlite:///{made}")
    await runner.prepare(db)
    await db.close()
    for name in names:
        shutil.copy(made, directory / f"{name}.db")
    return list(
        await asyncio.gather(*(HeadlessServer.start(name, f"sqlite:///{directory}/{name}.db", clock) for name in names))
    )
