"""The JIDs by which XMPP clients know rooms: given once, valid as long as the room is here."""

from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import RoomNid
from homeserver.storage.database import Write, one_of, upsert
from homeserver.storage.schema.chats import room_addresses


def find(conn: Connection, localpart: str) -> RoomNid | None:
    """Return the room that has a localpart."""
    query = sa.select(room_addresses.c.room).where(room_addresses.c.localpart == localpart)
    found = conn.execute(query).scalar_one_or_none()
    return RoomNid(found) if found is not None else None


def of_rooms(conn: Connection, rooms: Iterable[RoomNid]) -> dict[RoomNid, str]:
    """Return the localparts of those of the rooms that have one, in one query."""
    query = sa.select(room_addresses.c.room, room_addresses.c.localpart).where(one_of(room_addresses.c.room, rooms))
    return {RoomNid(room): localpart for room, localpart in conn.execute(query)}


def give(tx: Write, wanted: Mapping[RoomNid, tuple[str, ...]]) -> dict[RoomNid, str]:
    """Give each room the first of the localparts wanted for it that no other room has; return those of all."""
    found = of_rooms(tx.conn, wanted)
    for room, localparts in wanted.items():
        if room in found:
            continue
        for localpart in localparts:
            tx.conn.execute(
                upsert(tx.conn, room_addresses).values(localpart=localpart, room=room).on_conflict_do_nothing()
            )
            if find(tx.conn, localpart) == room:
                found[room] = localpart
                break
    return found
