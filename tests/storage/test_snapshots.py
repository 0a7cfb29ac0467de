"""Snapshots against a plain dict: whatever changes are made, each one reads as it was stored."""

import random
from collections.abc import Mapping
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import RoomID
from federation.core.room_versions import ROOM_VERSIONS
from homeserver.model.nids import EventNid, RoomNid, SlotNid, SnapshotNid
from homeserver.storage import rooms
from homeserver.storage.database import SqliteDatabase, Write
from homeserver.storage.database.postgres import PostgresDatabase
from homeserver.storage.names import Names
from homeserver.storage.schema.rooms import snapshots as table
from homeserver.storage.snapshots import Snapshot, Snapshots, pack, unpack

AnyDatabase = SqliteDatabase | PostgresDatabase
Model = dict[SlotNid, EventNid]
Changes = Mapping[SlotNid, EventNid | None]


class Refusal(Exception):
    """What a write raises that does not want to be."""


@pytest.fixture
async def room(database: AnyDatabase) -> RoomNid:
    """A room without events."""
    version = ROOM_VERSIONS["11"]
    return await database.write(lambda tx: rooms.create(tx, Names(), RoomID("!a:a.example"), version, 1).nid)


def changed(model: Model, changes: Changes) -> Model:
    """Return a model with changes made to it."""
    new = {**model, **{slot: event for slot, event in changes.items() if event is not None}}
    return {slot: event for slot, event in new.items() if changes.get(slot, event) is not None}


def some_changes(chance: random.Random, slots: int, number: int) -> Changes:
    """Return changes to one slot, seldom to many; one in four vacates."""
    how_many = chance.choice((1, 1, 1, 1, 1, 2, 20))
    return {
        SlotNid(chance.randrange(1, slots)): None if chance.random() < 0.25 else EventNid(number * 100 + n)
        for n in range(how_many)
    }


async def store_history(
    database: AnyDatabase, store: Snapshots, room: RoomNid, chance: random.Random, slots: int, length: int
) -> dict[SnapshotNid, Model]:
    """Store a history that forks at times; return every snapshot with what it must read as."""
    history: list[tuple[Snapshot, Model]] = []

    def write(tx: Write) -> None:
        for number in range(length):
            changes = some_changes(chance, slots, number + 1)
            before, model = (None, {}) if not history else history[-1 - (chance.random() < 0.1) * (len(history) // 2)]
            history.append((store.store(tx, room, before, changes), changed(model, changes)))

    await database.write(write)
    return {snapshot.nid: model for snapshot, model in history}


@pytest.mark.parametrize(("seed", "slots"), [(1, 4), (2, 30), (3, 400)])
async def test_every_snapshot_reads_as_it_was_stored(
    database: AnyDatabase, room: RoomNid, seed: int, slots: int
) -> None:
    chance = random.Random(seed)
    store = Snapshots()
    expected = await store_history(database, store, room, chance, slots, 150)

    def check(conn: Connection, reader: Snapshots) -> None:
        nids = list(expected)
        chance.shuffle(nids)
        for nid in nids[:40]:
            assert dict(reader.state(conn, nid).items()) == expected[nid]
        for part in (nids[:3], nids):
            assert {nid: dict(found.state.items()) for nid, found in reader.load_many(conn, part).items()} == {
                nid: expected[nid] for nid in part
            }

    def check_standing(conn: Connection, reader: Snapshots) -> None:
        wanted = [SlotNid(slot) for slot in range(slots + 2)]
        nids = [nid for nid in expected if chance.random() < 0.3]
        found = reader.standing(conn, nids, wanted)
        for nid in nids:
            assert found[nid] == tuple(expected[nid].get(slot) for slot in wanted)

    small = Snapshots(most_entries=50)  # forgets nearly everything at once
    for reader in (store, Snapshots(), small):
        await database.read(lambda conn, reader=reader: check(conn, reader))
        await database.read(lambda conn, reader=reader: check_standing(conn, reader))
    await database.read(lambda conn: check_standing(conn, Snapshots()))
    await database.write(lambda tx: check(tx.conn, Snapshots()))
    assert small._entries <= 50
    assert small._entries == sum(4 + (4 * len(s.delta) or s.base_size) for s in small._cache.values())


async def test_later_snapshots_are_built_upon_those_that_are_read_back(database: AnyDatabase, room: RoomNid) -> None:
    chance = random.Random(5)

    def write(tx: Write, newest: SnapshotNid | None, changes: Changes) -> SnapshotNid:
        store = Snapshots()  # as after a restart
        before = store.load(tx.conn, newest) if newest is not None else None
        return store.store(tx, room, before, changes).nid

    def read(conn: Connection, nid: SnapshotNid) -> Model:
        return dict(Snapshots().state(conn, nid).items())

    model: Model = {}
    newest: SnapshotNid | None = None
    for number in range(40):
        changes = some_changes(chance, 20, number + 1)
        model = changed(model, changes)
        newest = await database.write(partial(write, newest=newest, changes=changes))
        assert await database.read(partial(read, nid=newest)) == model


async def test_a_snapshot_of_a_write_that_failed_is_not_kept(database: AnyDatabase, room: RoomNid) -> None:
    store = Snapshots()

    def fail(tx: Write) -> None:
        first = store.store(tx, room, None, {SlotNid(1): EventNid(1)})
        assert store.load(tx.conn, first.nid) is first
        raise Refusal

    with pytest.raises(Refusal):
        await database.write(fail)
    assert not store._cache
    second = await database.write(lambda tx: store.store(tx, room, None, {SlotNid(2): EventNid(2)}))
    assert dict((await database.read(lambda conn: store.state(conn, second.nid))).items()) == {2: 2}


async def test_a_snapshot_is_read_with_two_rows_at_most(database: AnyDatabase, room: RoomNid) -> None:
    await store_history(database, Snapshots(), room, random.Random(6), 50, 200)
    base_of_bases = sa.select(sa.func.count()).select_from(table).where(
        table.c.base.in_(sa.select(table.c.nid).where(table.c.base.is_not(None)))
    )  # fmt: skip
    assert await database.read(lambda conn: conn.execute(base_of_bases).scalar_one()) == 0


@pytest.mark.parametrize("members", [10, 100, 1_000, 4_000])
async def test_the_bytes_of_a_state_event_grow_with_the_root_of_the_state_only(
    database: AnyDatabase, room: RoomNid, members: int
) -> None:
    store = Snapshots()

    def write(tx: Write) -> None:
        snapshot = None
        for n in range(1, members + 1):
            snapshot = store.store(tx, room, snapshot, {SlotNid(n): EventNid(n)})

    await database.write(write)
    total = sa.select(sa.func.sum(sa.func.length(table.c.entries)))
    written = await database.read(lambda conn: conn.execute(total).scalar_one())
    assert written / members < 16 * 2 * (2 * members) ** 0.5 + 16 * 8


def test_packed_entries_are_pairs_in_the_order_of_slots() -> None:
    entries = {SlotNid(7): EventNid(-3), SlotNid(2): EventNid(2**62)}
    assert pack(entries.items()) == pack(reversed(entries.items()))
    assert list(unpack(pack(entries.items())).items()) == [(2, 2**62), (7, -3)]
    assert unpack(b"") == {}
