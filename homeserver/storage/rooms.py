"""Rooms and their heads."""

from array import array
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from federation.core.ids import RoomID
from federation.core.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.model.nids import EventNid, RoomNid
from homeserver.model.rooms import Room
from homeserver.storage.database import Hot, Write, among
from homeserver.storage.names import Names
from homeserver.storage.schema.rooms import rooms


def create(tx: Write, names: Names, room_id: RoomID, version: RoomVersion, now_ms: int) -> Room:
    """Store a room that has no events yet."""
    values = {"room_id": room_id, "version": version.id, "created_at": now_ms}
    nid = RoomNid(tx.conn.execute(rooms.insert().values(values).returning(rooms.c.nid)).scalar_one())
    names.made_room(tx, room_id, nid)
    return Room(nid, room_id, version, EventNid(0), 0, (), None)


def set_version(tx: Write, room: RoomNid, version: RoomVersion) -> None:
    """Store the version of a room of which only memberships from outside are stored: who told of it may have erred."""
    tx.conn.execute(rooms.update().where(rooms.c.nid == room).values(version=version.id))


def load(conn: Connection, room: RoomNid) -> Room:
    """Return the head of a room that is stored."""
    return _room(conn.execute(_ONE, {"wanted": room}).one())


def load_many(conn: Connection, wanted: Iterable[RoomNid]) -> dict[RoomNid, Room]:
    """Return the heads of these rooms, in one query."""
    found = conn.execute(_MANY, {"wanted": list(wanted)})
    return {RoomNid(row.nid): _room(row) for row in found}


def _room(row: Row[Any]) -> Room:
    packed = array("q")
    packed.frombytes(row.extremities)
    return Room(
        nid=row.nid,
        room_id=row.room_id,
        version=ROOM_VERSIONS[row.version],
        newest=row.head,
        depth=row.depth,
        extremities=tuple(EventNid(nid) for nid in packed),
        snapshot=row.snapshot,
        joined=row.joined,
        invited=row.invited,
        published=row.published,
    )


def advance(tx: Write, room: Room) -> None:
    """Store the new head of a room."""
    _ADVANCE.run(
        tx.conn,
        {
            "room_nid": room.nid, "new_head": room.newest, "new_depth": room.depth,
            "new_extremities": array("q", room.extremities).tobytes(), "new_snapshot": room.snapshot,
            "new_joined": room.joined, "new_invited": room.invited,
        },
    )  # fmt: skip


def publish(tx: Write, room: RoomNid, published: bool) -> None:
    """List a room in the directory, or take it out."""
    tx.conn.execute(rooms.update().where(rooms.c.nid == room).values(published=published))


def is_published(conn: Connection, room: RoomNid) -> bool:
    """Return whether a room is listed in the directory."""
    return bool(conn.execute(sa.select(rooms.c.published).where(rooms.c.nid == room)).scalar_one())


def published(conn: Connection) -> list[tuple[int, RoomNid]]:
    """Return all rooms that are listed, with how many have joined: the largest first, the oldest of equal ones."""
    query = sa.select(rooms.c.joined, rooms.c.nid).where(rooms.c.published.is_(True), rooms.c.snapshot.is_not(None))
    ordered = query.order_by(rooms.c.joined.desc(), rooms.c.nid)
    return [(joined, RoomNid(nid)) for joined, nid in conn.execute(ordered)]


_SELECT = sa.select(rooms)
_ONE = _SELECT.where(rooms.c.nid == sa.bindparam("wanted"))
_MANY = _SELECT.where(among(rooms.c.nid, "wanted"))
_ADVANCE = Hot(
    rooms.update()
    .where(rooms.c.nid == sa.bindparam("room_nid"))
    .values(
        head=sa.bindparam("new_head"), depth=sa.bindparam("new_depth"), extremities=sa.bindparam("new_extremities"),
        snapshot=sa.bindparam("new_snapshot"), joined=sa.bindparam("new_joined"), invited=sa.bindparam("new_invited"),
    )
)  # fmt: skip
