"""Deleting a room leaves nothing of it, whatever tables there are, and refuses what is still referenced."""

from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Table
from sqlalchemy.exc import IntegrityError

from homeserver.model.nids import RoomNid
from homeserver.storage.database import SqliteDatabase, Write
from homeserver.storage.database.postgres import PostgresDatabase
from homeserver.storage.deletion import belonging, delete_some
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.schema import metadata
from homeserver.storage.schema.rooms import events, rooms, snapshots

AnyDatabase = SqliteDatabase | PostgresDatabase
Row = dict[str, Any]

NAMES_OF_REFERENCES = {"room", "room_id", "event", "event_id", "snapshot", "extremities"}
"""What columns are called that name something of a room."""
NOT_HERE_YET = {metadata.tables["unfinished_joins"]}
"""Tables of rooms that this server is not in yet; a day ends their rows."""

_numbers = count(1000)


def value_for(column: sa.Column[Any]) -> Any:
    """Return something that fits a column, another each time."""
    if isinstance(column.type, sa.Boolean):
        return False
    if isinstance(column.type, sa.SmallInteger):
        return 0
    if isinstance(column.type, sa.Integer):
        return next(_numbers)
    text = f"value {next(_numbers)}"
    return text.encode() if isinstance(column.type, sa.LargeBinary) else text


def fill(tx: Write, into: list[Table], known: dict[Table, Row]) -> None:
    """Put a row into each of these tables, and where rows may refer to others of their table a second that does.

    A foreign key gets the newest row of its table.
    """
    for table in into:
        to_itself = any(key.column.table is table for key in table.foreign_keys)
        for _ in range(2 if to_itself else 1):
            row: Row = {}
            for column in table.c:
                keys = [key for key in column.foreign_keys if key.column.table in known]
                if keys:
                    row[column.name] = known[keys[0].column.table][keys[0].column.name]
                elif not column.foreign_keys:
                    row[column.name] = value_for(column)
            tx.conn.execute(table.insert().values(row))
            known[table] = row


def counts(conn: Connection) -> dict[str, int]:
    """Return how many rows each table has."""
    return {
        table.name: conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for table in metadata.sorted_tables
    }


async def a_room(database: AnyDatabase) -> RoomNid:
    """Make rows in every table that belongs to rooms, all of them one room's; return its number."""

    def write(tx: Write) -> RoomNid:
        known: dict[Table, Row] = {}
        others = [table for table in metadata.sorted_tables if table not in belonging()]
        fill(tx, [table for table in others if table.name not in ("position", "schema_version")], known)
        row = {column.name: value_for(column) for column in rooms.c if not column.foreign_keys}
        tx.conn.execute(rooms.insert().values(row))
        known[rooms] = row
        fill(tx, [table for table in metadata.sorted_tables if table in belonging() and table is not rooms], known)
        newest = sa.select(sa.func.max(snapshots.c.nid)).scalar_subquery()
        tx.conn.execute(rooms.update().where(rooms.c.nid == row["nid"]).values(snapshot=newest))
        return RoomNid(row["nid"])

    return await database.write(write)


async def delete(database: AnyDatabase, room: RoomNid, most: int) -> None:
    names = Names()
    while not await database.write(lambda tx: delete_some(tx, names, Events(names), room, most)):
        pass


@pytest.mark.parametrize("most", [1, 3, 5000])
async def test_nothing_of_a_deleted_room_is_left_and_all_of_another_stays(database: AnyDatabase, most: int) -> None:
    await a_room(database)
    first = await database.read(counts)
    room = await a_room(database)
    second = await database.read(counts)
    grown = {name for name in first if second[name] > first[name]}
    assert {table.name for table in belonging()} <= grown
    await delete(database, room, most)
    left = await database.read(counts)
    assert {table.name: left[table.name] for table in belonging()} == {
        table.name: first[table.name] for table in belonging()
    }
    assert await database.write(lambda tx: delete_some(tx, Names(), Events(Names()), room)) is True


async def test_what_another_room_refers_to_is_not_deleted(database: AnyDatabase) -> None:
    room, other = await a_room(database), await a_room(database)

    def refer(tx: Write) -> None:
        of_room = sa.select(sa.func.max(snapshots.c.nid)).where(snapshots.c.room == room).scalar_subquery()
        tx.conn.execute(events.update().where(events.c.room == other).values(snapshot=of_room))

    await database.write(refer)
    before = await database.read(counts)
    with pytest.raises(IntegrityError):
        await delete(database, room, 5000)
    assert await database.read(counts) == before


async def test_a_deleted_room_is_forgotten(database: AnyDatabase) -> None:
    room = await a_room(database)
    names = Names()
    room_id = await database.read(lambda conn: names.room_id(conn, room))
    await database.write(lambda tx: delete_some(tx, names, Events(names), room))
    assert await database.read(lambda conn: names.room(conn, room_id)) is None


def test_no_table_that_names_something_of_a_room_is_forgotten() -> None:
    forgotten = [
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.c
        if column.name in NAMES_OF_REFERENCES and table not in belonging() and table not in NOT_HERE_YET
    ]
    assert forgotten == [], "give these a foreign key, or rows of deleted rooms stay in them"


def test_what_refers_to_something_that_is_deleted_is_indexed() -> None:
    # Else the database looks through the whole table for each row that goes.
    deleted = {*belonging(), metadata.tables["devices"]}
    slow = []
    for table in metadata.sorted_tables:
        first = {next(iter(index.columns)).name for index in table.indexes} | {next(iter(table.primary_key)).name}
        first |= {
            next(iter(constraint.columns)).name
            for constraint in table.constraints
            if isinstance(constraint, sa.UniqueConstraint)
        }
        slow += [
            f"{table.name}.{key.parent.name}"
            for key in table.foreign_keys
            if key.column.table in deleted and key.parent.name not in first
        ]
    assert slow == []
