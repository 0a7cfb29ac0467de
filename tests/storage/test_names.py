"""Interned names: one number each, also when many ask at once, and none that was not committed."""

import asyncio
from functools import partial

import pytest

from federation.core.ids import RoomID, UserID
from federation.core.room_versions import ROOM_VERSIONS
from homeserver.model.nids import RoomNid, UserNid
from homeserver.storage import rooms
from homeserver.storage.database import SqliteDatabase, Write, open_database
from homeserver.storage.database.postgres import PostgresDatabase
from homeserver.storage.names import Memory, Names

AnyDatabase = SqliteDatabase | PostgresDatabase
ALICE, BOB = UserID("@alice:a.example"), UserID("@bob:a.example")
SLOT = ("m.room.member", ALICE)


class Refusal(Exception):
    """What a write raises that does not want to be."""


def intern_all(tx: Write, names: Names, fail: bool = False) -> tuple[int, int, int]:
    numbers = (names.intern_user(tx, ALICE), names.intern_type(tx, "m.x"), names.intern_slot(tx, *SLOT))
    if fail:
        raise Refusal
    return numbers


async def test_a_name_has_one_number_however_many_ask_at_once(database: AnyDatabase, database_url: str) -> None:
    other = open_database(database_url)  # stands for another process
    writes = [
        db.write(partial(intern_all, names=names)) for db in (database, other) for names in (Names(), Names()) * 5
    ]
    assert len(set(await asyncio.gather(*writes))) == 1
    await other.close()


async def test_a_number_of_a_write_that_failed_is_not_remembered(database: AnyDatabase) -> None:
    names = Names()
    answers = await asyncio.gather(
        database.write(partial(intern_all, names=names, fail=True)),
        # On SQLite, Bob gets the number that Alice had for a moment.
        database.write(partial(Names.intern_user, names, user_id=BOB)),
        database.write(partial(Names.intern_slot, names, event_type="m.room.member", state_key=BOB)),
        database.write(partial(intern_all, names=names, fail=True)),
        return_exceptions=True,
    )
    _, bob, slot, _ = answers
    assert isinstance(bob, int)
    assert isinstance(slot, int)
    assert await database.read(lambda conn: names.user(conn, ALICE)) is None
    assert await database.read(lambda conn: names.slot(conn, *SLOT)) is None
    assert await database.read(lambda conn: names.type(conn, "m.x")) is None
    assert await database.read(lambda conn: names.user_id(conn, UserNid(bob))) == BOB
    alice = await database.write(partial(Names.intern_user, names, user_id=ALICE))
    assert alice != bob
    assert await database.read(lambda conn: names.user_ids(conn, [alice, UserNid(bob)])) == {alice: ALICE, bob: BOB}


async def test_names_are_found_both_ways_with_an_empty_memory(database: AnyDatabase) -> None:
    user, event_type, slot = await database.write(partial(intern_all, names=Names()))
    assert await database.read(lambda conn: Names().user(conn, ALICE)) == user
    assert await database.read(lambda conn: Names().user_nids(conn, [ALICE, BOB])) == {ALICE: user}
    assert await database.read(lambda conn: Names().user_ids(conn, [UserNid(user)])) == {user: ALICE}
    assert await database.read(lambda conn: Names().types(conn, [event_type])) == {event_type: "m.x"}  # type: ignore[list-item]
    assert await database.read(lambda conn: Names().slots(conn, [SLOT, ("m.x", "")])) == {SLOT: slot}
    assert await database.read(lambda conn: Names().slot_pairs(conn, [slot])) == {slot: SLOT}  # type: ignore[list-item]


async def test_a_write_remembers_what_was_committed_before_it(database: AnyDatabase) -> None:
    await database.write(partial(intern_all, names=Names()))
    names = Names()
    await database.write(lambda tx: (names.user(tx.conn, ALICE), names.slot(tx.conn, *SLOT)))
    assert ALICE in names._users.by_name
    assert SLOT in names._slots.by_name


async def test_a_name_may_be_empty(database: AnyDatabase) -> None:
    names = Names()

    def fail(tx: Write) -> None:
        names.intern_type(tx, "")
        assert names.type(tx.conn, "") is not None
        raise Refusal

    with pytest.raises(Refusal):
        await database.write(fail)
    assert "" not in names._types.by_name


async def test_a_deleted_room_stays_forgotten_and_its_number_is_not_given_again(database: AnyDatabase) -> None:
    names, room_id = Names(), RoomID("!a:a.example")

    def create(tx: Write) -> RoomNid:
        return rooms.create(tx, names, room_id, ROOM_VERSIONS["11"], 1).nid

    first = await database.write(create)
    await database.write(lambda tx: tx.conn.exec_driver_sql(f"DELETE FROM rooms WHERE nid = {first}"))
    names.forget_room(room_id)
    names._rooms.learn(room_id, first)  # by a reader of the moment before
    assert await database.read(lambda conn: names.room(conn, room_id)) is None
    second = await database.write(create)
    assert second != first
    assert names._rooms.by_name[room_id] == second


def test_the_oldest_names_are_forgotten_first() -> None:
    memory: Memory[str, int] = Memory(3)
    for number, name in enumerate("abcde"):
        memory.learn(name, number)
    assert memory.by_name == {"c": 2, "d": 3, "e": 4}
    assert memory.by_number == {2: "c", 3: "d", 4: "e"}
