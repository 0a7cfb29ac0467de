"""A database that goes away, is busy or is full: callers hear of it, and the server goes on."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from homeserver.storage.database import SqliteDatabase, Write, current_position, open_database
from homeserver.storage.database import postgres as postgres_module
from homeserver.storage.database import sqlite as sqlite_module
from homeserver.storage.database.postgres import PostgresDatabase
from homeserver.storage.migrations import runner
from tests.storage.notes import drop_table, make_table, note, texts
from tests.support.proxy import Proxy


@pytest.fixture
def database_kind(database_url: str) -> str:
    """Which database this is."""
    return database_url.partition(":")[0]


# PostgreSQL


@pytest.fixture
async def proxy(database_url: str, database_kind: str) -> AsyncIterator[Proxy]:
    """A proxy before a PostgreSQL database."""
    if database_kind != "postgresql":
        pytest.skip("of PostgreSQL")
    async with Proxy.before(database_url) as started:
        yield started


@pytest.fixture
async def db(proxy: Proxy) -> AsyncIterator[PostgresDatabase]:
    """A database behind the proxy."""
    database = PostgresDatabase(proxy.url)
    await runner.prepare(database)
    await database.write(make_table)
    yield database
    await database.write(drop_table)
    await database.close()


async def test_a_write_whose_connection_is_ended_is_done_again(db: PostgresDatabase) -> None:
    runs: list[str] = []
    told: list[str] = []

    def write(tx: Write, text: str) -> int:
        runs.append(text)
        if text == "b" and runs.count("b") == 1:
            tx.conn.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
        tx.after_commit(told.append, text)
        return note(tx, text)

    await asyncio.gather(*(db.write(partial(write, text=text)) for text in "abc"))
    assert runs == ["a", "b", "a", "b", "c"]
    assert told == ["a", "b", "c"]
    assert await db.read(texts) == ["a", "b", "c"]


async def test_a_caller_who_goes_away_costs_no_connection(db: PostgresDatabase) -> None:
    began = asyncio.Event()

    def slow(conn: sa.Connection) -> int:
        began.set()
        return int(conn.execute(sa.text("SELECT pg_backend_pid() FROM pg_sleep(0.1)")).scalar_one())

    async def four() -> set[int]:
        return set(await asyncio.gather(*(db.read(slow) for _ in range(4))))

    connections = await four()
    began.clear()
    gone = asyncio.create_task(db.read(slow))
    await began.wait()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await four() <= connections


async def test_a_write_that_always_loses_its_connection_fails(db: PostgresDatabase) -> None:
    def die(tx: Write) -> None:
        note(tx, "dead")
        tx.conn.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(DBAPIError):
        await db.write(die)
    await db.write(partial(note, text="alive"))
    assert await db.read(texts) == ["alive"]


async def test_reads_and_writes_go_on_after_the_server_was_restarted(db: PostgresDatabase, proxy: Proxy) -> None:
    await db.write(partial(note, text="before"))
    await asyncio.gather(*(db.read(texts) for _ in range(8)))
    proxy.cut()
    assert await asyncio.gather(*(db.read(texts) for _ in range(8))) == [["before"]] * 8
    proxy.cut()
    await db.write(partial(note, text="after"))
    assert await db.read(texts) == ["before", "after"]


async def test_while_the_server_is_away_callers_get_an_error(db: PostgresDatabase, proxy: Proxy) -> None:
    proxy.down = True
    proxy.cut()
    answers = await asyncio.gather(
        db.read(texts), *(db.write(partial(note, text=str(i))) for i in range(3)), return_exceptions=True
    )
    assert all(isinstance(answer, OSError | DBAPIError) for answer in answers), answers
    proxy.down = False
    await db.write(partial(note, text="back"))
    assert await db.read(texts) == ["back"]


async def test_a_commit_whose_answer_is_lost_is_neither_repeated_nor_denied(db: PostgresDatabase, proxy: Proxy) -> None:
    told: list[str] = []

    def write(tx: Write, text: str) -> int:
        tx.after_commit(told.append, text)
        return note(tx, text)

    proxy.cut_at_commit = True
    first, second = await asyncio.gather(*(db.write(partial(write, text=text)) for text in "ab"))
    assert second == first + 1 == await db.read(current_position)
    assert told == ["a", "b"]
    assert await db.read(texts) == ["a", "b"]


async def test_a_commit_that_the_server_did_not_make_is_an_error(db: PostgresDatabase) -> None:
    # Deferred to the commit: the server ends the connection in the middle of it.
    function = """CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"""
    trigger = """CREATE CONSTRAINT TRIGGER die AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.text = 'dead') EXECUTE FUNCTION die()"""
    told: list[str] = []

    def write(tx: Write, text: str) -> int:
        tx.after_commit(told.append, text)
        return note(tx, text)

    await db.write(lambda tx: tx.conn.exec_driver_sql(function))
    await db.write(lambda tx: tx.conn.exec_driver_sql(trigger))
    answers = await asyncio.gather(
        *(db.write(partial(write, text=text)) for text in ("a", "dead")), return_exceptions=True
    )
    assert all(isinstance(answer, DBAPIError) for answer in answers)
    await db.write(partial(write, text="alive"))
    assert told == await db.read(texts) == ["alive"]
    await db.write(lambda tx: tx.conn.exec_driver_sql("DROP FUNCTION die CASCADE"))


async def test_callers_do_not_wait_for_ever_to_hear_of_a_commit(
    db: PostgresDatabase, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "PATIENCE_SECONDS", 0.3)
    told: list[str] = []

    def write(tx: Write) -> int:
        tx.after_commit(told.append, "a")
        tx.after_commit(lambda: setattr(proxy, "down", False))
        return note(tx, "a")

    def go_down(tx: Write) -> None:
        proxy.cut_at_commit = proxy.down = True

    answers = asyncio.gather(db.write(write), db.write(go_down), return_exceptions=True)
    assert all(isinstance(answer, DBAPIError) for answer in await answers)
    proxy.down = False
    # What was committed is told all the same, before anything is written after it.
    await db.write(lambda tx: tx.after_commit(told.append, "b"))
    assert told == ["a", "b"]
    assert await db.read(texts) == ["a"]


# SQLite


@pytest.fixture
def path(database_url: str, database_kind: str) -> str:
    """The file of an SQLite database."""
    if database_kind != "sqlite":
        pytest.skip("of SQLite")
    return database_url.removeprefix("sqlite:///")


@pytest.fixture
async def file(path: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteDatabase]:
    """An SQLite database that does not wait long for a lock."""
    monkeypatch.setattr(sqlite_module, "LOCK_SECONDS", 0.1)
    database = open_database(f"sqlite:///{path}")
    assert isinstance(database, SqliteDatabase)
    await runner.prepare(database)
    await database.write(make_table)
    yield database
    await database.write(drop_table)
    await database.close()


async def test_while_another_process_writes_too_long_callers_get_an_error(file: SqliteDatabase, path: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answers = await asyncio.gather(
            *(file.write(partial(note, text=str(i))) for i in range(3)), return_exceptions=True
        )
        assert all(isinstance(answer, OperationalError) for answer in answers)
        assert await file.read(texts) == []
        other.execute("COMMIT")
    await file.write(partial(note, text="a"))
    assert await file.read(texts) == ["a"]


async def test_a_full_disk_is_an_error_until_there_is_room_again(file: SqliteDatabase) -> None:
    await file.write(partial(note, text="before"))
    told: list[str] = []

    def write(tx: Write, text: str) -> int:
        tx.after_commit(told.append, text[:5])
        return note(tx, text)

    # SQLite treats a file that may not grow like a full disk. The limit is the connection's.
    await file.write(lambda tx: tx.conn.exec_driver_sql("PRAGMA max_page_count = 1"))
    answers = await asyncio.gather(
        file.write(partial(write, text="small")), file.write(partial(write, text="large" * 100_000)),
        return_exceptions=True,
    )  # fmt: skip
    assert isinstance(answers[1], OperationalError)
    written = ["small"] if not isinstance(answers[0], Exception) else []
    assert told == written
    assert await file.read(texts) == ["before", *written]
    file._disconnect()  # room again
    await file.write(partial(write, text="large" * 100_000))
    assert len(await file.read(texts)) == 2 + len(written)


async def test_a_file_that_cannot_be_opened_any_more_is_an_error(
    file: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(file, "_conn", None)
        patched.setattr(file, "_engine", sa.create_engine("sqlite:////nowhere/at/all.db"))
        with pytest.raises(OperationalError):
            await file.write(partial(note, text="lost"))
    await file.write(partial(note, text="a"))
    assert await file.read(texts) == ["a"]
