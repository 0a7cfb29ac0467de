"""What `read` and `write` promise, on both databases."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from homeserver.storage.database import (
    SqliteDatabase,
    Write,
    current_position,
    fresh,
    open_database,
)
from homeserver.storage.database.postgres import PostgresDatabase
from tests.storage.notes import drop_table, make_table, note, notes, texts

AnyDatabase = SqliteDatabase | PostgresDatabase
T = TypeVar("T")


class Refusal(Exception):
    """What a write raises that does not want to be."""


@pytest.fixture
async def db(database: AnyDatabase) -> AsyncIterator[AnyDatabase]:
    """A database with a table of notes."""
    await database.write(make_table)
    yield database
    await database.write(drop_table)


def observed(db: AnyDatabase) -> list[int]:
    """Return a list into which the size of each group comes."""
    sizes: list[int] = []
    db._observe = lambda writes, seconds: sizes.append(writes)
    return sizes


def refuse(tx: Write, text: str) -> None:
    """Write something and then fail."""
    note(tx, text)
    raise Refusal(text)


async def many(db: AnyDatabase, writes: list[Callable[[Write], Any]]) -> list[Any]:
    """Let all writes wait at the same time; return their results and errors."""
    return await asyncio.gather(*(db.write(write) for write in writes), return_exceptions=True)


def waiting_for(conn: Connection, loop: asyncio.AbstractEventLoop, work: Awaitable[T]) -> T:
    """Let something else happen in the middle of a function that the database runs."""
    if conn.dialect.name == "postgresql":
        return sa.util.await_only(work)

    async def run() -> T:
        return await work

    return asyncio.run_coroutine_threadsafe(run(), loop).result(30)


async def test_writes_that_wait_share_a_commit(db: AnyDatabase) -> None:
    sizes = observed(db)
    await many(db, [partial(note, text=str(i)) for i in range(60)])
    await db.write(lambda tx: None)
    assert sum(sizes) >= 60
    assert len(sizes) < 20
    assert await db.read(texts) == [str(i) for i in range(60)]


async def test_a_write_is_answered_with_what_it_returned(db: AnyDatabase) -> None:
    before = await db.read(current_position)
    assert await many(db, [partial(note, text=str(i)) for i in range(5)]) == [before + 1 + i for i in range(5)]
    assert await db.read(current_position) == before + 5


async def test_a_write_that_fails_is_undone_alone(db: AnyDatabase) -> None:
    writes: list[Callable[[Write], Any]] = [partial(refuse if i % 7 == 3 else note, text=str(i)) for i in range(40)]
    answers = await many(db, writes)
    assert [i for i, answer in enumerate(answers) if isinstance(answer, Refusal)] == [3, 10, 17, 24, 31, 38]
    assert await db.read(texts) == [str(i) for i in range(40) if i % 7 != 3]


async def test_a_write_that_the_database_refuses_is_undone_alone(db: AnyDatabase) -> None:
    answers = await many(db, [partial(note, text=text) for text in ("a", "b", "a", "c")])
    assert [type(answer) for answer in answers] == [int, int, IntegrityError, int]
    assert await db.read(texts) == ["a", "b", "c"]


async def test_later_writes_see_what_earlier_ones_of_their_group_did(db: AnyDatabase) -> None:
    def write(tx: Write) -> list[str]:
        seen = texts(tx.conn)
        note(tx, str(len(seen)))
        return seen

    answers = await many(db, [write] * 10)
    assert answers == [[str(i) for i in range(n)] for n in range(10)]


async def test_the_world_is_told_after_the_commit_and_in_its_order(db: AnyDatabase) -> None:
    told: list[str] = []
    reads: list[asyncio.Task[list[str]]] = []

    def tell(text: str) -> None:
        told.append(text)
        reads.append(asyncio.ensure_future(db.read(texts)))

    def write(tx: Write, text: str) -> None:
        note(tx, text)
        tx.after_commit(tell, text)
        if text == "7":
            raise Refusal(text)

    await many(db, [partial(write, text=str(i)) for i in range(30)])
    expected = [str(i) for i in range(30) if i != 7]
    assert told == expected
    for text, seen in zip(told, await asyncio.gather(*reads), strict=True):
        assert text in seen


async def test_callers_are_answered_after_the_world_was_told(db: AnyDatabase) -> None:
    told: list[int] = []

    def write(tx: Write) -> int:
        position = note(tx, "a")
        tx.after_commit(told.append, position)
        return position

    assert [await db.write(write)] == told


async def test_one_who_cannot_be_told_keeps_nobody_from_being_told(db: AnyDatabase) -> None:
    told: list[str] = []

    def write(tx: Write) -> int:
        tx.after_commit(told.remove, "what is not there")
        tx.after_commit(told.append, "next")
        return note(tx, "a")

    await db.write(write)
    assert told == ["next"]


async def test_a_write_that_runs_again_has_no_double_effect(db: AnyDatabase) -> None:
    runs: list[str] = []
    told: list[str] = []

    def write(tx: Write, text: str) -> None:
        runs.append(text)
        note(tx, text)
        tx.after_commit(told.append, text)

    await many(db, [partial(write, text="a"), partial(refuse, text="b"), partial(write, text="c")])
    if db.dialect == "postgresql":  # where all are sure to be of one group
        assert runs == ["a", "a", "c"]  # rolled back with the one that failed
    assert told == ["a", "c"]
    assert await db.read(texts) == ["a", "c"]


async def test_a_caller_who_goes_away_does_not_undo_the_write(db: AnyDatabase) -> None:
    caller = asyncio.ensure_future(db.write(partial(note, text="a")))
    await asyncio.sleep(0)
    caller.cancel()
    await db.write(partial(note, text="b"))
    assert await db.read(texts) == ["a", "b"]


async def test_what_a_failed_write_has_put_aside_is_dropped(db: AnyDatabase) -> None:
    def fail(tx: Write) -> None:
        tx.fresh.put("note", 1, "failed")
        raise Refusal

    def succeed(tx: Write) -> None:
        tx.fresh.put("note", 2, "stands")

    def look(tx: Write) -> tuple[object, object]:
        memory = fresh(tx.conn)
        assert memory is not None
        return memory.get("note", 1), memory.get("note", 2)

    assert (await many(db, [succeed, fail, look]))[2] == (None, "stands")


async def test_what_is_put_aside_is_gone_once_the_world_was_told(db: AnyDatabase) -> None:
    await db.write(lambda tx: tx.fresh.put("note", 1, "a"))
    assert await db.write(lambda tx: tx.fresh.get("note", 1)) is None
    assert await db.read(fresh) is None


async def test_a_read_sees_one_moment(db: AnyDatabase) -> None:
    loop = asyncio.get_running_loop()
    await db.write(partial(note, text="a"))

    def read(conn: Connection) -> tuple[list[str], int, list[str], int]:
        first, position = texts(conn), current_position(conn)
        waiting_for(conn, loop, db.write(partial(note, text="b")))
        return first, position, texts(conn), current_position(conn)

    first, position, again, position_again = await db.read(read)
    assert (first, position) == (again, position_again)
    assert await db.read(texts) == ["a", "b"]


async def test_a_read_cannot_write(db: AnyDatabase) -> None:
    with pytest.raises(DBAPIError):
        await db.read(lambda conn: conn.execute(notes.insert().values(position=1, text="a")))
    assert await db.read(texts) == []


async def test_a_reader_never_finds_something_new_at_or_below_a_position_it_has_seen(
    db: AnyDatabase, database_url: str
) -> None:
    # Two databases on one file or server stand for two processes.
    other = open_database(database_url)
    chance = random.Random(4)
    done = False

    async def keep_writing(database: AnyDatabase, name: str) -> None:
        for i in range(40):
            how_many = chance.randrange(1, 6)
            kinds = [refuse if chance.random() < 0.2 else note for _ in range(how_many)]
            await many(database, [partial(kind, text=f"{name} {i} {n}") for n, kind in enumerate(kinds)])

    def look(conn: Connection) -> tuple[int, set[tuple[int, str]]]:
        # The position first: what comes after it in this transaction must be of the same moment.
        return current_position(conn), {(row.position, row.text) for row in conn.execute(sa.select(notes))}

    async def keep_reading(database: AnyDatabase) -> int:
        position, seen = await database.read(look)
        rounds = 0
        while not done:
            newer, now = await database.read(look)
            assert newer >= position
            assert {row for row in now if row[0] <= position} == seen
            assert all(row[0] <= newer for row in now)
            position, seen, rounds = newer, now, rounds + 1
        return rounds

    try:
        readers = [asyncio.create_task(keep_reading(database)) for database in (db, other)]
        await asyncio.gather(*(keep_writing(database, f"{n}") for n, database in enumerate((db, other, db))))
        done = True
        assert all(rounds > 3 for rounds in await asyncio.gather(*readers))
    finally:
        done = True
        await other.close()


async def test_closing_finishes_the_writes_that_wait(database_url: str, db: AnyDatabase) -> None:
    second = open_database(database_url)
    writes = [asyncio.ensure_future(second.write(partial(note, text=str(i)))) for i in range(250)]
    await asyncio.sleep(0)
    await second.close()
    await second.close()
    assert len(await asyncio.gather(*writes)) == 250
    assert len(await db.read(texts)) == 250
    with pytest.raises(RuntimeError):
        await second.write(partial(note, text="late"))
