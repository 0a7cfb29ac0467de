"""Addresses of rooms."""

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import RoomAlias, RoomID
from homeserver.model.nids import RoomNid, UserNid
from homeserver.storage.database import Write
from homeserver.storage.schema.rooms import aliases, rooms


def find(conn: Connection, alias: RoomAlias) -> tuple[RoomNid, RoomID, UserNid] | None:
    """Return the room that an alias points to, and who made the alias; None if it points nowhere."""
    row = conn.execute(_FIND, {"wanted": alias}).one_or_none()
    return (row.room, row.room_id, row.creator) if row is not None else None


def create(tx: Write, alias: RoomAlias, room: RoomNid, creator: UserNid) -> None:
    """Store a new alias. The caller has made sure that it is free."""
    tx.conn.execute(aliases.insert().values(alias=alias, room=room, creator=creator))


def delete(tx: Write, alias: RoomAlias) -> None:
    """Delete an alias."""
    tx.conn.execute(aliases.delete().where(aliases.c.alias == alias))


def move(tx: Write, old: RoomNid, new: RoomNid) -> None:
    """Point all aliases of a room to another one."""
    tx.conn.execute(aliases.update().where(aliases.c.room == old).values(room=new))


def of_room(conn: Connection, room: RoomNid) -> list[RoomAlias]:
    """Return the aliases that point to a room, in order."""
    query = sa.select(aliases.c.alias).where(aliases.c.room == room).order_by(aliases.c.alias)
    return [RoomAlias(alias) for alias in conn.execute(query).scalars()]


_FIND = (
    sa.select(aliases.c.room, rooms.c.room_id, aliases.c.creator)
    .join(rooms, rooms.c.nid == aliases.c.room)
    .where(aliases.c.alias == sa.bindparam("wanted"))
)
