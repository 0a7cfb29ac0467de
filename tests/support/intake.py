"""A room of other servers, made from the law, that a user of a real server of ours has joined."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from federation.core.auth.receipt import Received, VerdictKind
from federation.core.auth.selection import Slot
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, ServerName, UserID
from homeserver.model.events import Event
from homeserver.model.nids import RoomNid
from homeserver.services.intake import Intake
from homeserver.services.timeline import Timeline
from homeserver.storage import awaited_events, rooms
from homeserver.storage.database import Write
from tests.support.rooms import Room
from tests.support.world import User, World, ok, q

T = TypeVar("T")


def received(events: Iterable[Pdu]) -> list[Received]:
    """Return events as if their signatures had been checked."""
    return [Received(event) for event in events]


def auth_chain(room: Room, events: Iterable[Pdu]) -> list[Pdu]:
    """Return all that events of a room stand on."""
    return auth_chain_of(events, room.events.__getitem__)


def auth_chain_of(events: Iterable[Pdu], fetch: Callable[[EventID], Pdu]) -> list[Pdu]:
    """Return all that events stand on."""
    found: dict[EventID, Pdu] = {}
    waiting = [event_id for event in events for event_id in event.auth_events]
    while waiting:
        event = fetch(waiting.pop())
        if event.event_id not in found:
            found[event.event_id] = event
            waiting += event.auth_events
    return list(found.values())


@dataclasses.dataclass
class Guest:
    """A user of ours in a room that others made, and the room as those see it."""

    world: World
    user: User
    room: Room
    nid: RoomNid
    timeline: Timeline
    intake: Intake

    @classmethod
    async def join(cls, world: World, user: User, version: str, others: Iterable[UserID] = (), **users: Any) -> "Guest":
        """Make a public room, let others join, and then a user of ours at a distance."""
        return await cls.enter(world, user, Room.public(version, joined=others, **users))

    @classmethod
    async def enter(cls, world: World, user: User, room: Room) -> "Guest":
        """Let a user of ours join a room at a distance. Raises `Rejected` if it does not let them in."""
        before = [room.events[event_id] for event_id in room.state.values()]
        join = room.joins(UserID(user.user_id))
        timeline = world.app.services.rooms.timeline
        intake = Intake(timeline)
        chain = received(auth_chain(room, before))

        def write(tx: Write) -> RoomNid:
            return intake.begin(
                tx, room.create.room_id, room.version, create=Received(room.create), auth_chain=chain,
                state=received(before), join=Received(join),
            )  # fmt: skip

        return cls(world, user, room, await world.app.db.write(write), timeline, intake)

    @property
    def room_id(self) -> str:
        """The room's ID."""
        return self.room.create.room_id

    async def take(
        self, event: Pdu, *, state_before: Mapping[Slot, EventID] | None = None, soft_fail: str | None = None
    ) -> VerdictKind:
        """Take an event in, as it comes from another server; return what became of it."""

        def write(tx: Write) -> VerdictKind:
            verdict = self.intake.take(tx, self.nid, Received(event), state_before=state_before, soft_fail=soft_fail)
            return verdict.kind

        return await self.world.app.db.write(write)

    async def takes(self, *events: Pdu) -> None:
        """Take in events that must be accepted."""
        for event in events:
            assert await self.take(event) is VerdictKind.ACCEPTED, event.type

    async def keep_apart(self, *events: Pdu) -> dict[EventID, VerdictKind]:
        """Store events as those of another server's state are; return what became of them."""
        verdicts = await self.world.app.db.write(lambda tx: self.intake.outliers(tx, self.nid, received(events)))
        return {event_id: verdict.kind for event_id, verdict in verdicts.items()}

    async def fetch_past(
        self, events: Sequence[Pdu], states: Mapping[EventID, Mapping[Slot, EventID]] | None = None
    ) -> None:
        """Take in older events, all of which must be accepted."""
        verdicts = await self.world.app.db.write(
            lambda tx: self.intake.backfilled(tx, self.nid, received(events), states or {})
        )
        assert {verdict.kind for verdict in verdicts.values()} == {VerdictKind.ACCEPTED}, verdicts

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Read from the database."""
        return await self.world.app.db.read(fn)

    async def stored(self, event_id: str) -> Event:
        """Return an event as it is stored."""
        event = await self.read(lambda conn: self.timeline.events.by_id(conn, EventID(event_id)))
        assert event is not None
        return event

    async def branch_at(self, event_id: str) -> Room:
        """Return the branch of the room that ends with an event of ours."""
        timeline = self.timeline

        def stored(conn: Connection, wanted: EventID) -> Event:
            event = timeline.events.by_id(conn, wanted)
            assert event is not None
            return event

        def read(conn: Connection) -> tuple[list[Pdu], list[EventID]]:
            last = stored(conn, EventID(event_id))
            assert last.snapshot is not None
            state = timeline.events.by_nids(conn, timeline.snapshots.state(conn, last.snapshot).values())
            known = [last.pdu, *(event.pdu for event in state.values())]
            # Our users' earlier memberships are in no state any more, but what the law resolves stands on them.
            known += auth_chain_of(known, lambda cited: self.room.events.get(cited) or stored(conn, cited).pdu)
            return known, [each.event_id for each in state.values()]

        events, state = await self.read(read)
        self.room.events.update({event.event_id: event for event in events})
        branch = self.room.fork()
        branch.heads = (EventID(event_id),)
        branch.state = {self.room.events[each].slot: each for each in state}
        return branch

    async def extremities(self) -> set[EventID]:
        """Return the room's forward extremities."""

        def read(conn: Connection) -> set[EventID]:
            head = rooms.load(conn, self.nid)
            return {event.event_id for event in self.timeline.events.by_nids(conn, head.extremities).values()}

        return await self.read(read)

    async def awaited(self) -> set[EventID]:
        """Return what is awaited in the room."""
        return {event_id for event_id, _ in await self.read(lambda conn: awaited_events.in_room(conn, self.nid))}

    async def servers(self) -> set[ServerName]:
        """Return the servers in the room."""
        return set(await self.read(lambda conn: self.timeline.current.servers.servers(conn, self.nid)))

    async def state(self, event_type: str, state_key: str = "") -> Any:
        """Return the content of current state, as the user gets it."""
        return ok(await self.user.get(f"/rooms/{q(self.room_id)}/state/{q(event_type)}/{q(state_key)}"))

    async def news(self) -> list[Any]:
        """Return the timeline of what is new for the user."""
        answer = await self.user.syncs()
        joined = answer.get("rooms", {}).get("join", {}).get(self.room_id)
        return joined["timeline"]["events"] if joined is not None else []
