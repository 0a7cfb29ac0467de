"""What is remembered of rows is never out of date."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection

from homeserver.storage.database import SqliteDatabase, Write
from homeserver.storage.database.postgres import PostgresDatabase
from homeserver.storage.remembered import Remembered

AnyDatabase = SqliteDatabase | PostgresDatabase


class Rows:
    """Loads what it is told, and counts how often it was asked."""

    def __init__(self, rows: Mapping[int, tuple[int, str]]) -> None:
        self.rows = rows
        self.asked: list[list[int]] = []

    def __call__(self, _conn: Connection, keys: Collection[int]) -> dict[int, tuple[int, str]]:
        self.asked.append(list(keys))
        return {key: self.rows.get(key, (0, "nothing")) for key in keys}


async def test_rows_are_loaded_together_and_once(database: AnyDatabase) -> None:
    remembered: Remembered[int, str] = Remembered()
    rows = Rows({1: (5, "one"), 2: (6, "two")})
    for _ in range(2):
        found = await database.read(lambda conn: remembered.find(conn, [1, 2, 3], rows))
        assert found == {1: "one", 2: "two", 3: "nothing"}
    assert rows.asked == [[1, 2, 3]]
    await database.read(lambda conn: remembered.find(conn, [1, 4], rows))
    assert rows.asked[1:] == [[4]]
    assert remembered.known(4) == "nothing"
    assert remembered.known(5) is None


def test_what_an_older_reader_found_does_not_replace_the_newer() -> None:
    remembered: Remembered[int, str] = Remembered()
    remembered.learn(1, 7, "new")
    remembered.learn(1, 0, "not there yet")
    remembered.learn(1, 5, "old")
    assert remembered.known(1) == "new"
    remembered.learn(1, 8, "newest")
    assert remembered.known(1) == "newest"


async def test_what_a_write_reads_is_remembered_once_it_is_committed(database: AnyDatabase) -> None:
    remembered: Remembered[int, str] = Remembered()

    def look(tx: Write) -> None:
        assert remembered.find(tx, [1], Rows({1: (1, "seen")})) == {1: "seen"}
        assert remembered.known(1) is None

    await database.write(look)
    assert remembered.known(1) == "seen"


async def test_what_a_failed_write_read_is_not_remembered(database: AnyDatabase) -> None:
    remembered: Remembered[int, str] = Remembered()

    def fail(tx: Write) -> None:
        remembered.find(tx, [1], Rows({}))
        remembered.find(tx.conn, [2], Rows({}))
        raise ValueError

    try:
        await database.write(fail)
    except ValueError:
        assert remembered.known(1) is None
        assert remembered.known(2) is None


async def test_what_was_not_asked_for_longest_is_forgotten(database: AnyDatabase) -> None:
    remembered: Remembered[int, str] = Remembered(most=2)
    for key in (1, 2):
        remembered.learn(key, 1, "known")
    await database.read(lambda conn: remembered.find(conn, [1], Rows({})))
    remembered.learn(3, 1, "known")
    assert (remembered.known(1), remembered.known(2), remembered.known(3)) == ("known", None, "known")
