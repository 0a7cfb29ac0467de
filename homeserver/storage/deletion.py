"""Deletion of a room with all that belongs to it, derived from the schema.

A row belongs to a room if foreign keys lead from it there. Rows that refer to others go before those, so that the
database itself refuses to delete what is still referenced: the state of an event in another room, for instance.
"""

from collections.abc import Mapping
from functools import cache

import sqlalchemy as sa
from sqlalchemy import Column, ColumnElement, Table

from homeserver.model.nids import RoomNid
from homeserver.storage.database import Write
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.schema import metadata
from homeserver.storage.schema.rooms import rooms


def delete_some(tx: Write, names: Names, events: Events, room: RoomNid, most: int = 5000) -> bool:
    """Delete at most `most` rows of a room; return whether that was the last of it.

    To be called, in a write each, until it returns True; so a large room does not keep all other writes waiting.
    Nobody may be in the room any more. Raises IntegrityError if something of another room refers to this one.
    """
    found = tx.conn.execute(sa.select(rooms.c.room_id).where(rooms.c.nid == room)).scalar_one_or_none()
    if found is None:
        return True
    inward = {key.parent.name: None for key in rooms.foreign_keys}
    tx.conn.execute(rooms.update().where(rooms.c.nid == room).values(inward))
    for table in reversed(metadata.sorted_tables):
        if table in belonging():
            most -= _delete(tx, table, room, most)
            if most <= 0:
                return False
    tx.after_commit(names.forget_room, found)
    tx.after_commit(events.forget_room, room)
    return True


@cache
def belonging() -> Mapping[Table, tuple[Column[object], ...]]:
    """Return each table whose rows belong to rooms, with the columns that lead there; straight ones, if it has any."""
    found: dict[Table, tuple[Column[object], ...]] = {rooms: (rooms.c.nid,)}
    grown = True
    while grown:
        grown = False
        for table in metadata.sorted_tables:
            keys = [key for key in table.foreign_keys if key.column.table in found]
            if keys and table not in found:
                straight = [key for key in keys if key.column.table is rooms]
                found[table] = tuple(key.parent for key in straight or keys)
                grown = True
    return found


def _belongs(table: Table, room: RoomNid) -> ColumnElement[bool]:
    ways: list[ColumnElement[bool]] = []
    for column in belonging()[table]:
        target = next((key.column for key in column.foreign_keys), rooms.c.nid)
        if target.table is rooms:
            ways.append(column == room)
        else:
            ways.append(column.in_(sa.select(target).where(_belongs(target.table, room))))
    return sa.or_(*ways)


def _delete(tx: Write, table: Table, room: RoomNid, most: int) -> int:
    key = sa.tuple_(*table.primary_key)
    # Where rows of a table refer to others of it, as a snapshot does to its base, these go last.
    last = [reference.parent.is_(None) for reference in table.foreign_keys if reference.column.table is table]
    some = sa.select(*table.primary_key).where(_belongs(table, room)).order_by(*last).limit(most)
    return tx.conn.execute(table.delete().where(key.in_(some))).rowcount
