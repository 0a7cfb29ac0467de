"""What leaves the server is kept with what causes it, costs one row, and gets to each server once and in order."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import RoomID, ServerName
from federation.core.room_versions import ROOM_VERSIONS
from federation.matrix.errors import Unreachable
from homeserver.clock import SystemIds
from homeserver.config.schema import Federation
from homeserver.model.events import Event, Status
from homeserver.model.nids import EventNid, RoomNid
from homeserver.services.outgoing import Outgoing
from homeserver.storage import destinations, outbox, outbox_pruning, rooms
from homeserver.storage.database import SqliteDatabase, Write
from homeserver.storage.database.postgres import PostgresDatabase
from homeserver.storage.deletion import delete_some
from homeserver.storage.events import Events, Standing
from homeserver.storage.names import Names
from homeserver.storage.schema import delivery
from tests.storage.conftest import database
from tests.support.clock import MovableClock
from tests.support.rooms import ALICE, BOB, Room
from tests.support.statements import statements
from tests.support.waiting import until

__all__ = ["database"]

US = ServerName("a.example")
B, C, D = ServerName("b.example"), ServerName("c.example"), ServerName("d.example")
TO_DEVICE, TYPING = "m.direct_to_device", "m.typing"

AnyDatabase = SqliteDatabase | PostgresDatabase


@dataclass
class Others:
    """All other servers. What a transaction brings counts once for its ID."""

    down: set[ServerName] = field(default_factory=set)
    hanging: set[ServerName] = field(default_factory=set)
    attempts: dict[ServerName, list[tuple[str, Mapping[str, Any]]]] = field(default_factory=lambda: defaultdict(list))
    bodies: dict[ServerName, list[str]] = field(default_factory=lambda: defaultdict(list))
    edus: dict[ServerName, list[Any]] = field(default_factory=lambda: defaultdict(list))
    seen: set[tuple[ServerName, str]] = field(default_factory=set)

    async def send_transaction(
        self, destination: ServerName, txn_id: str, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        self.attempts[destination].append((txn_id, body))
        if destination in self.down:
            raise Unreachable(f"{destination} is down")
        if destination in self.hanging:
            await asyncio.Event().wait()
        if (destination, txn_id) not in self.seen:
            self.seen.add((destination, txn_id))
            self.bodies[destination] += [pdu["content"]["body"] for pdu in body["pdus"]]
            self.edus[destination] += [edu["content"] for edu in body.get("edus", [])]
        return {"pdus": {}}


@dataclass
class Server:
    """The sending side of a server, over a database that stays when it is killed."""

    database: AnyDatabase
    names: Names
    events: Events
    clock: MovableClock
    others: Others
    outgoing: Outgoing
    rooms: dict[str, tuple[Room, RoomNid]] = field(default_factory=dict)

    @classmethod
    async def start(cls, database: AnyDatabase) -> "Server":
        names, clock, others = Names(), MovableClock(), Others()
        events = Events(names)
        server = cls(database, names, events, clock, others, _outgoing(database, events, clock, others))
        await server.outgoing.start()
        return server

    async def killed_and_started(self, **settings: Any) -> None:
        """End it as kill -9 does, and start another one on its database."""
        kill(self.outgoing)
        self.events = Events(self.names)
        self.outgoing = _outgoing(self.database, self.events, self.clock, self.others, **settings)
        await self.outgoing.start()

    async def room(self, name: str) -> None:
        """Make a room."""
        room = Room.begin("11")
        room_id = RoomID(f"!{name}:a.example")
        nid = (await self.database.write(lambda tx: rooms.create(tx, self.names, room_id, ROOM_VERSIONS["11"], 1))).nid
        self.rooms[name] = room, nid

    def say(self, tx: Write, to: Collection[ServerName], body: str, room: str = "room", sender: Any = ALICE) -> Event:
        """Store a message that goes to these servers."""
        made, nid = self.rooms[room]
        pdu, standing = made.says(sender, body), Standing(status=Status.ACCEPTED)
        event = self.events.insert(tx, pdu, nid=EventNid(tx.position()), room=nid, standing=standing)
        self.outgoing.deliver(tx, event, frozenset(to))
        return event

    async def says(self, body: str, *to: ServerName, **how: Any) -> Event:
        """Say something in a write of its own."""
        return await self.database.write(lambda tx: self.say(tx, to, body, **how))

    async def tells(self, content: Mapping[str, Any], *to: ServerName, key: str | None = None) -> None:
        """Send a durable EDU."""
        edu = {"edu_type": TO_DEVICE, "content": content}
        await self.database.write(lambda tx: self.outgoing.edu(tx, to, edu, durable=True, key=key))

    async def count(self, table: sa.Table) -> int:
        query = sa.select(sa.func.count()).select_from(table)
        return int(await self.database.read(lambda conn: conn.execute(query).scalar_one()))

    async def heard(self, server: ServerName) -> None:
        """A server that was down is up and speaks."""
        self.others.down.discard(server)
        self.outgoing.heard_from(server)

    def quiet(self) -> bool:
        """Whether nothing is being sent or waits to be."""
        return not self.outgoing.queues

    def resting(self) -> bool:
        """Whether nothing is being sent now."""
        return not any(queue.working for queue in self.outgoing.queues)


def _outgoing(db: AnyDatabase, events: Events, clock: MovableClock, others: Others, **settings: Any) -> Outgoing:
    return Outgoing(US, db, events, clock, SystemIds(), others, Federation(**settings))


def kill(outgoing: Outgoing) -> None:
    """Let nothing more happen."""
    sender, stored = outgoing._sender, outgoing._stored
    sender._running = False
    for task in [*sender._tasks, *([stored._task] if stored._task is not None else [])]:
        task.cancel()
    for timer in (sender._timer, stored._timer):
        if timer is not None:
            timer.cancel()
    stored._records.clear()


@pytest.fixture
async def server(database: AnyDatabase) -> AsyncIterator[Server]:
    made = await Server.start(database)
    await made.room("room")
    yield made
    kill(made.outgoing)


def delivered(server: Server, to: ServerName, *bodies: str) -> Callable[[], bool]:
    """Return whether a server has exactly these messages."""
    return lambda: server.others.bodies[to] == list(bodies)


async def test_a_server_gets_what_is_said_while_it_is_in_the_room(server: Server) -> None:
    await server.says("one", B)
    await server.says("two", B, C)
    await server.says("c is kicked", B, C)
    await server.says("four", B)
    await server.says("five", B, D)
    await until(delivered(server, B, "one", "two", "c is kicked", "four", "five"))
    await until(delivered(server, C, "two", "c is kicked"))
    await until(delivered(server, D, "five"))
    await until(server.quiet)


async def test_that_holds_for_servers_that_were_away_too(server: Server) -> None:
    server.others.down |= {B, C, D}
    await server.says("one", B)
    await server.says("two", B, C)
    await server.says("c is kicked", B, C)
    await server.says("four", B)
    await server.says("five", B, D)
    await server.killed_and_started()
    await until(server.resting)
    for other in (B, C, D):
        await server.heard(other)
    await until(delivered(server, B, "one", "two", "c is kicked", "four", "five"))
    await until(delivered(server, C, "two", "c is kicked"))
    await until(delivered(server, D, "five"))


async def test_a_message_is_one_row_and_one_statement_however_many_servers_get_it(server: Server) -> None:
    many = [ServerName(f"s{number}.example") for number in range(300)]
    server.others.hanging |= {B, *many}
    costs = {}
    for to in ([B], many):
        await server.says("the set is made", *to)
        event = await server.says("the set is known", *to)
        before = await server.count(delivery.outbox)

        def deliver(tx: Write, event: Event = event, to: Collection[ServerName] = to) -> int:
            with statements() as seen:
                server.outgoing.deliver(tx, event, frozenset(to))
            return len(seen)

        costs[len(to)] = await server.database.write(deliver)
        assert await server.count(delivery.outbox) == before + 1
    assert costs == {1: 1, 300: 1}
    assert await server.count(delivery.destination_sets) == 2


async def test_what_goes_to_nobody_costs_nothing(server: Server) -> None:
    event = await server.says("alone")

    def deliver(tx: Write) -> int:
        with statements() as seen:
            server.outgoing.deliver(tx, event, frozenset())
        assert tx.after == []
        return len(seen)

    assert await server.database.write(deliver) == 0
    assert await server.count(delivery.outbox) == 0


async def test_a_write_that_fails_sends_nothing(server: Server) -> None:
    def fails(tx: Write) -> None:
        server.say(tx, [B], "never said")
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await server.database.write(fails)
    await server.says("said", B)
    await until(delivered(server, B, "said"))


async def test_what_another_server_sent_goes_to_all_but_it_and_needs_no_set_of_its_own(server: Server) -> None:
    server.others.down |= {B, C}
    await server.says("ours", B, C)
    await server.says("theirs", C, sender=BOB)
    assert await server.count(delivery.destination_sets) == 1
    await server.killed_and_started()
    await until(server.resting)
    await server.heard(B)
    await server.heard(C)
    await until(delivered(server, B, "ours"))
    await until(delivered(server, C, "ours", "theirs"))


async def test_after_kill_9_a_transaction_is_repeated_with_its_id_and_content(server: Server) -> None:
    server.others.hanging.add(B)
    await server.says("one", B)
    await server.tells({"secret": 1}, B)
    await until(lambda: server.others.attempts[B])
    await server.says("two", B)
    for _ in range(3):
        await server.killed_and_started()
        await until(lambda: len(server.others.attempts[B]) > 1)
    first, *others = server.others.attempts[B]
    assert others == [first] * len(others)
    server.others.hanging.clear()
    await server.killed_and_started()
    await until(delivered(server, B, "one", "two"))
    assert server.others.edus[B] == [{"secret": 1}]


async def test_killed_again_and_again_it_loses_nothing_and_doubles_nothing(server: Server) -> None:
    bodies = [str(number) for number in range(400)]
    for number, body in enumerate(bodies):
        await server.says(body, B, C)
        if number % 20 == 19:
            await asyncio.sleep(0.001 * (number % 7))
            await server.killed_and_started()
    await until(delivered(server, B, *bodies))
    await until(delivered(server, C, *bodies))


async def test_a_thousand_events_in_twenty_rooms_get_in_order_to_a_server_that_was_away(server: Server) -> None:
    server.others.down.add(B)
    for number in range(20):
        await server.room(f"r{number}")
    await server.says("first", B)
    await until(lambda: server.others.attempts[B])

    def all_of_them(tx: Write) -> None:
        for number in range(1000):
            server.say(tx, [B, C], str(number), room=f"r{number % 20}")

    await server.database.write(all_of_them)
    await until(lambda: len(server.others.bodies[C]) == 1000)
    server.clock.advance(600)
    await server.killed_and_started()
    await until(server.resting)
    began = time.monotonic()
    await server.heard(B)
    await until(delivered(server, B, "first", *[str(number) for number in range(1000)]))
    assert time.monotonic() - began < 30
    assert len(server.others.seen) <= 2 * 22 + 20


@pytest.fixture
def few_in_order(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let five hundred be more than is sent in order, so that a test need not make thousands."""
    for module in (outbox, outbox_pruning):
        monkeypatch.setattr(module, "IN_ORDER", 400)
    return 400


async def test_who_was_away_very_long_gets_the_newest_of_each_room_and_every_message_to_devices(
    server: Server, few_in_order: int
) -> None:
    server.others.down.add(B)
    for name in ("quiet", "busy"):
        await server.room(name)
    await server.says("the last in the quiet room", B, room="quiet")
    await server.tells({"to a device": 1}, B)
    await server.tells({"device list": 1}, B, key="alice")
    await server.tells({"device list": 2}, B, key="alice")

    def very_many(tx: Write) -> None:
        for number in range(few_in_order + 200):
            server.say(tx, [B], str(number), room="busy")

    await server.database.write(very_many)
    await until(server.resting)
    await server.killed_and_started()
    await until(server.resting)
    await server.heard(B)
    await until(lambda: server.others.bodies[B] and server.quiet())
    # The first ones were in a transaction that may have been taken; it is repeated.
    begun = [one for one in server.others.bodies[B] if one.isdigit()]
    assert server.others.bodies[B][0] == "the last in the quiet room"
    assert begun[-1] == str(few_in_order + 199)
    assert len(begun) <= 60
    assert server.others.edus[B][-1] == {"device list": 2}
    assert {"to a device": 1} in server.others.edus[B]


async def test_what_servers_have_taken_is_pruned_but_for_the_newest_of_a_room(server: Server) -> None:
    server.others.down.add(C)
    for body in ("one", "two"):
        await server.says(body, B)
    await server.says("three", B, C)
    await server.tells({"x": 1}, B, D)
    await until(delivered(server, B, "one", "two", "three"))
    await until(lambda: server.others.edus[D])
    await until(server.resting)
    await server.outgoing.stop()
    await server.outgoing.prune()

    def left(conn: Connection) -> list[int]:
        events = sa.select(delivery.outbox.c.event)
        return [int(nid) for nid in conn.execute(events).scalars() if nid is not None]

    kept = await server.database.read(left)
    assert len(kept) == 1
    assert await server.count(delivery.destination_sets) == 1
    await server.killed_and_started()
    await until(server.resting)
    await server.heard(C)
    await until(delivered(server, C, "three"))
    await server.outgoing.prune()
    assert await server.database.read(left) == kept
    # The set that is gone is made again.
    await server.says("four", B)
    await until(delivered(server, B, "one", "two", "three", "four"))


async def test_what_is_not_worth_sending_is_pruned_and_what_is_in_flight_is_not(
    server: Server, few_in_order: int
) -> None:
    server.others.down.add(B)
    await server.says("begun", B)
    await until(lambda: server.others.attempts[B])
    await server.room("busy")

    def very_many(tx: Write) -> None:
        for number in range(few_in_order + 500):
            server.say(tx, [B, C] if number % 2 else [B], str(number), room="busy")

    await server.database.write(very_many)
    await server.says("the newest", B)
    await until(lambda: len(server.others.bodies[C]) == few_in_order // 2 + 250 and server.resting())
    await server.killed_and_started()
    await until(server.resting)
    before = await server.count(delivery.outbox)
    await server.outgoing.prune()
    assert before - await server.count(delivery.outbox) in range(450, 550)
    await server.heard(B)
    await until(lambda: server.others.bodies[B][-1:] == ["the newest"])
    got = server.others.bodies[B]
    assert got[0] == "begun"
    assert got[-2] == str(few_in_order + 499)
    assert got[1:-1] == sorted(got[1:-1], key=int)


async def test_durable_edus_are_part_of_the_write_and_removed_once_taken(server: Server) -> None:
    server.others.down.add(B)
    await server.tells({"secret": 1}, B)
    await server.killed_and_started()
    await until(server.resting)
    await server.heard(B)
    await until(lambda: server.others.edus[B] == [{"secret": 1}])
    await until(server.quiet)
    await server.outgoing.stop()
    assert await server.count(delivery.outbox) == 0


async def test_passing_edus_leave_no_trace_and_go_after_the_commit(server: Server) -> None:
    typing = {"edu_type": TYPING, "content": {"typing": True}}
    server.outgoing.edu(None, [US, B], typing, key="alice")
    await until(lambda: server.others.edus[B] == [{"typing": True}])
    assert server.others.attempts[US] == []

    def fails(tx: Write) -> None:
        server.outgoing.edu(tx, [B], {"edu_type": TYPING, "content": {"typing": False}}, key="alice")
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await server.database.write(fails)
    await server.database.write(lambda tx: server.outgoing.edu(tx, [C], typing, key="alice"))
    await until(lambda: server.others.edus[C] == [{"typing": True}])
    assert len(server.others.edus[B]) == 1
    assert await server.count(delivery.outbox) == await server.count(delivery.destinations) == 0


async def test_how_a_server_fails_is_known_after_a_restart(server: Server) -> None:
    server.others.down.add(B)
    await server.says("one", B)
    await until(lambda: (queue := server.outgoing.queue(B)) and queue.error)
    await until(server.resting)
    since = (queue := server.outgoing.queue(B)) and queue.backoff and queue.backoff.failing_since
    await server.outgoing.stop()
    stored = await server.database.read(lambda conn: destinations.find(conn, B))
    assert stored is not None
    assert (stored.failing_since, stored.error) == (since, "b.example is down")
    attempts = len(server.others.attempts[B])
    server.outgoing = _outgoing(server.database, server.events, server.clock, server.others)
    await server.outgoing.start()
    queue = server.outgoing.queue(B)
    assert queue is not None
    assert queue.backoff is not None
    assert queue.backoff.failing_since == since
    assert len(server.others.attempts[B]) == attempts


async def test_a_command_beside_the_server_blocks_unblocks_and_retries(server: Server) -> None:
    await server.database.write(lambda tx: destinations.set_blocked(tx, B, True))
    await server.outgoing.look()
    await server.says("one", B, C)
    await until(delivered(server, C, "one"))
    await server.killed_and_started()
    assert server.others.attempts[B] == []
    server.others.down.add(B)
    await server.database.write(lambda tx: destinations.set_blocked(tx, B, False))
    await server.outgoing.look()
    await until(lambda: server.others.attempts[B] and server.resting())
    server.others.down.clear()
    assert await server.database.write(lambda tx: destinations.ask_to_retry(tx, B))
    assert not await server.database.write(lambda tx: destinations.ask_to_retry(tx, D))
    await server.outgoing.look()
    await until(delivered(server, B, "one"))
    assert await server.database.read(destinations.to_retry) == frozenset()


async def test_nothing_is_sent_to_who_is_blocked_in_the_configuration(server: Server) -> None:
    await server.killed_and_started(blocked_destinations=(B,))
    await server.says("one", B, C)
    await server.outgoing.block(B, False)
    await until(delivered(server, C, "one"))
    assert server.others.attempts[B] == []


async def test_without_federation_nothing_is_kept(server: Server) -> None:
    await server.killed_and_started(enabled=False)
    await server.says("one", B)
    await server.tells({}, B)
    await server.outgoing.look()
    assert await server.count(delivery.outbox) == 0


async def test_a_deleted_room_is_not_waited_for(server: Server) -> None:
    server.others.down.add(B)
    await server.says("one", B)
    await until(lambda: server.others.attempts[B] and server.resting())
    await server.says("two", B)
    _, nid = server.rooms["room"]

    def delete(tx: Write) -> None:
        tx.conn.execute(sa.text("UPDATE rooms SET snapshot = NULL"))
        while not delete_some(tx, server.names, server.events, nid):
            pass

    await server.database.write(delete)
    assert await server.count(delivery.outbox) == 0
    await server.killed_and_started()
    await server.heard(B)
    await until(server.quiet)


async def test_what_an_edu_needs_is_asked_for(server: Server) -> None:
    with pytest.raises(ValueError, match="part of a write"):
        server.outgoing.edu(None, [B], {}, durable=True)
    with pytest.raises(ValueError, match="has a key"):
        server.outgoing.edu(None, [B], {})
