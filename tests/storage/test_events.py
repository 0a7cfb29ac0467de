"""Events in memory: never older than what was committed, never one that was not, and no more bytes than allowed."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from federation.core.events.redaction import redact
from federation.core.ids import RoomID
from federation.core.room_versions import ROOM_VERSIONS
from homeserver.model.events import Event, Status
from homeserver.model.nids import EventNid, RoomNid, SnapshotNid
from homeserver.storage import rooms, timelines
from homeserver.storage.database import SqliteDatabase, Write
from homeserver.storage.database.postgres import PostgresDatabase
from homeserver.storage.events import Events, Standing
from homeserver.storage.names import Names
from homeserver.storage.snapshots import Snapshots
from tests.storage.test_database import waiting_for
from tests.support.rooms import ALICE, Room

AnyDatabase = SqliteDatabase | PostgresDatabase


class Refusal(Exception):
    """What a write raises that does not want to be."""


@dataclass
class Store:
    """A room whose events are stored as they come."""

    database: AnyDatabase
    room: Room
    nid: RoomNid
    names: Names
    events: Events
    snapshot: SnapshotNid

    def insert(self, tx: Write, body: str, **how: Any) -> Event:
        """Store a message."""
        pdu = self.room.says(ALICE, body)
        nid = EventNid(tx.position())
        standing = Standing(**{"status": Status.ACCEPTED, "place": nid, "snapshot": self.snapshot, **how})
        return self.events.insert(tx, pdu, nid=nid, room=self.nid, standing=standing)

    def redact(self, tx: Write, nid: EventNid) -> Event:
        """Redact a stored message, and let the new event stand for the redaction."""
        event = self.events.by_nid(tx.conn, nid)
        by = self.insert(tx, "redaction")
        return self.events.replace_redacted(tx, event, redact(event.pdu.fields, event.version), by.nid)

    async def says(self, body: str) -> Event:
        """Store a message in a write of its own."""
        return await self.database.write(lambda tx: self.insert(tx, body))

    async def content(self, nid: EventNid) -> Any:
        """Return an event's content as a reader gets it."""
        return (await self.database.read(lambda conn: self.events.by_nid(conn, nid))).content


@pytest.fixture
async def store(database: AnyDatabase) -> Store:
    """A room without events in the database."""
    return await a_store(database)


async def a_store(database: AnyDatabase, room_id: str = "!room:a.example", events: Room | None = None) -> Store:
    room, names = events or Room.begin("11"), Names()

    def write(tx: Write) -> tuple[RoomNid, SnapshotNid]:
        nid = rooms.create(tx, names, RoomID(room_id), ROOM_VERSIONS["11"], 1).nid
        return nid, Snapshots().store(tx, nid, None, {}).nid

    nid, snapshot = await database.write(write)
    return Store(database, room, nid, names, Events(names), snapshot)


async def test_an_event_reads_as_it_was_stored(store: Store) -> None:
    event = await store.says("hello")
    empty = Events(Names())
    for read in (store.events, empty):
        (found,) = await store.database.read(lambda conn, read=read: list(read.by_nids(conn, [event.nid]).values()))
        by_id = await store.database.read(lambda conn, read=read: read.by_id(conn, event.event_id))
        assert by_id is not None
        for each in (found, by_id):
            assert each.pdu == event.pdu
            assert each.client_prefix == event.client_prefix
    assert await store.database.read(lambda conn: store.events.by_nids(conn, [EventNid(999)])) == {}


async def test_a_reader_of_the_moment_before_a_redaction_does_not_bring_the_old_event_back(store: Store) -> None:
    loop = asyncio.get_running_loop()
    event = await store.says("secret")
    store.events = Events(store.names)  # nothing in memory

    def read(conn: Connection) -> Event:
        rooms.load(conn, store.nid)  # the reader's moment begins
        waiting_for(conn, loop, store.database.write(lambda tx: store.redact(tx, event.nid)))
        return store.events.by_nid(conn, event.nid)

    old = await store.database.read(read)
    assert old.content["body"] == "secret"
    assert await store.content(event.nid) == {}


async def test_the_write_after_a_redaction_sees_it(store: Store) -> None:
    event = await store.says("secret")
    answers = await asyncio.gather(
        store.database.write(lambda tx: store.redact(tx, event.nid)),
        store.database.write(lambda tx: store.events.by_nid(tx.conn, event.nid)),
        store.database.write(lambda tx: store.events.by_id(tx.conn, event.event_id)),
    )
    assert [answer.content for answer in answers if answer is not None] == [{}, {}, {}]


@pytest.fixture
async def slow_to_tell(database: AnyDatabase, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Any]]:
    """An SQLite database whose event loop takes its time to tell what was committed."""
    if not isinstance(database, SqliteDatabase):
        pytest.skip("of SQLite, whose writer does not wait for the event loop")
    held: list[Any] = []
    finish = database._finish
    monkeypatch.setattr(database, "_finish", lambda *args: held.append(lambda: finish(*args)))
    yield held
    monkeypatch.undo()
    for tell in held:
        tell()


async def test_a_write_sees_a_redaction_of_which_the_caches_do_not_know_yet(
    store: Store, slow_to_tell: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell() -> None:
        while slow_to_tell:
            slow_to_tell.pop(0)()

    async def until(many: int) -> None:
        while len(slow_to_tell) < many:
            await asyncio.to_thread(time.sleep, 0.001)

    first = asyncio.create_task(store.says("secret"))
    await until(1)
    tell()
    event = await first
    redaction = asyncio.create_task(store.database.write(lambda tx: store.redact(tx, event.nid)))
    await until(1)
    look = asyncio.create_task(store.database.write(lambda tx: store.events.by_nid(tx.conn, event.nid)))
    await until(2)
    assert store.events._cached(event.nid) is event  # still to be told
    tell()
    assert (await look).content == {}
    assert (await redaction).content == {}
    assert await store.content(event.nid) == {}


async def test_an_event_of_a_write_that_failed_is_not_in_memory(store: Store) -> None:
    def fail(tx: Write) -> None:
        event = store.insert(tx, "never")
        assert store.events.by_id(tx.conn, event.event_id) is not None
        raise Refusal(event.event_id)

    with pytest.raises(Refusal) as refused:
        await store.database.write(fail)
    assert store.events._cache == {}
    event_id = refused.value.args[0]
    assert await store.database.read(lambda conn: store.events.by_id(conn, event_id)) is None


async def test_readers_and_redactions_side_by_side_end_with_every_redaction_seen(store: Store) -> None:
    chance = random.Random(3)
    stored = [await store.says(f"secret {n}") for n in range(30)]
    done = False

    async def keep_reading() -> None:
        while not done:
            some = [event.nid for event in stored if chance.random() < 0.5]
            await store.database.read(partial(store.events.by_nids, nids=some))
            store.events._drop(chance.choice(stored).nid)

    readers = [asyncio.create_task(keep_reading()) for _ in range(3)]
    for event in stored:
        await store.database.write(lambda tx, event=event: store.redact(tx, event.nid))
        assert await store.content(event.nid) == {}
    done = True
    await asyncio.gather(*readers)
    assert [await store.content(event.nid) for event in stored] == [{}] * len(stored)


async def test_the_memory_is_bounded_in_bytes(store: Store) -> None:
    store.events = Events(store.names, most_bytes=20_000)
    nids = [(await store.says("x" * 500)).nid for _ in range(30)]
    assert len(await store.database.read(lambda conn: store.events.by_nids(conn, nids))) == 30
    assert store.events._bytes == sum(event.size for event in store.events._cache.values()) <= 20_000
    assert set(store.events._ids.values()) == set(store.events._cache)


async def test_the_newest_events_of_rooms_are_those_that_a_look_at_all_of_them_finds(database: AnyDatabase) -> None:
    chance = random.Random(8)
    events = Room.begin("11")  # all the same to the store
    stores = [await a_store(database, f"!room{n}:a.example", events) for n in range(5)]
    every: list[Event] = []

    def write(tx: Write) -> None:
        for _ in range(150):
            store = chance.choice(stores[:4])  # the last room stays empty
            status = chance.choice((Status.ACCEPTED, Status.ACCEPTED, Status.SOFT_FAILED, Status.REJECTED))
            if status is not Status.REJECTED and chance.random() < 0.3:
                store.snapshot = Snapshots().store(tx, store.nid, None, {}).nid
            resolved = Snapshots().store(tx, store.nid, None, {}).nid if chance.random() < 0.1 else None
            event = store.insert(tx, "hi", status=status, room_snapshot=resolved)
            every.append(event)

    await database.write(write)
    last = every[-1].nid
    for _ in range(25):
        after, until = sorted((chance.randrange(-1, last + 3), chance.randrange(-1, last + 3)))
        limit = chance.choice((1, 3, 20, 200))
        wanted = [store.nid for store in stores if chance.random() < 0.7]
        found = await database.read(
            lambda conn: timelines.newest(conn, wanted, after=after, until=until, limit=limit)  # noqa: B023
        )
        for room in wanted:
            expected = [
                event.nid
                for event in reversed(every)
                if event.room == room and after < event.nid <= until and event.status is Status.ACCEPTED
            ][:limit]
            assert found.get(room, []) == expected
        assert set(found) <= set(wanted)

        states = await database.read(lambda conn: timelines.states_at(conn, wanted, until))  # noqa: B023
        for room in wanted:
            before = [event for event in every if event.room == room and event.nid <= until]
            at = (before[-1].room_snapshot or before[-1].snapshot) if before else None
            assert states.get(room) == at
