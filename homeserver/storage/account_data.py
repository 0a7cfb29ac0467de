"""What users keep for themselves, for their account and for each room: JSON that the server does not read."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import RoomNid, UserNid
from homeserver.storage.database import Write, one_of, upsert
from homeserver.storage.schema.accounts import account_data, room_account_data

USERS_IN_A_QUERY = 5000


def store(tx: Write, user: UserNid, data_type: str, content: bytes) -> int:
    """Store data of an account; return the position of the change."""
    position = tx.position()
    values = {"content": content, "position": position}
    statement = upsert(tx.conn, account_data).values(user=user, type=data_type, **values)
    tx.conn.execute(statement.on_conflict_do_update(index_elements=["user", "type"], set_=values))
    return position


def find(conn: Connection, user: UserNid, data_type: str) -> bytes | None:
    """Return data of an account."""
    query = sa.select(account_data.c.content)
    return conn.execute(query.where(account_data.c.user == user, account_data.c.type == data_type)).scalar_one_or_none()


def of_users(conn: Connection, users: Collection[UserNid], data_type: str) -> dict[UserNid, tuple[int, bytes]]:
    """Return the position and the content of one type of data for those of the users who have it."""
    found: dict[UserNid, tuple[int, bytes]] = {}
    wanted = list(users)
    query = sa.select(account_data.c.user, account_data.c.position, account_data.c.content)
    for start in range(0, len(wanted), USERS_IN_A_QUERY):
        part = wanted[start : start + USERS_IN_A_QUERY]
        rows = conn.execute(query.where(one_of(account_data.c.user, part), account_data.c.type == data_type))
        found.update({UserNid(user): (position, content) for user, position, content in rows})
    return found


def since(conn: Connection, user: UserNid, after: int, until: int) -> list[tuple[str, bytes]]:
    """Return type and content of what changed in an account after one position and not after the other."""
    return list(conn.execute(_SINCE, {"of_user": user, "after": after, "until": until}))


def store_in_room(tx: Write, user: UserNid, room: RoomNid, data_type: str, content: bytes) -> int:
    """Store data of a user for a room; return the position of the change."""
    position = tx.position()
    values = {"content": content, "position": position}
    statement = upsert(tx.conn, room_account_data).values(user=user, room=room, type=data_type, **values)
    tx.conn.execute(statement.on_conflict_do_update(index_elements=["user", "room", "type"], set_=values))
    return position


def find_in_room(conn: Connection, user: UserNid, room: RoomNid, data_type: str) -> bytes | None:
    """Return data of a user for a room."""
    table = room_account_data.c
    query = sa.select(table.content).where(table.user == user, table.room == room, table.type == data_type)
    return conn.execute(query).scalar_one_or_none()


def find_in_rooms(conn: Connection, user: UserNid, data_type: str) -> dict[RoomNid, bytes]:
    """Return data of one type of a user, by the rooms that it is for."""
    table = room_account_data.c
    query = sa.select(table.room, table.content).where(table.user == user, table.type == data_type)
    return {RoomNid(room): content for room, content in conn.execute(query)}


def rooms_since(conn: Connection, user: UserNid, after: int, until: int) -> dict[RoomNid, list[tuple[str, bytes]]]:
    """Return type and content of what changed for each room after one position and not after the other."""
    found: dict[RoomNid, list[tuple[str, bytes]]] = {}
    rows = conn.execute(_ROOMS_SINCE, {"of_user": user, "after": after, "until": until})
    for room, data_type, content in rows:
        found.setdefault(RoomNid(room), []).append((data_type, content))
    return found


_SINCE = (
    sa.select(account_data.c.type, account_data.c.content)
    .where(
        account_data.c.user == sa.bindparam("of_user"),
        account_data.c.position > sa.bindparam("after"),
        account_data.c.position <= sa.bindparam("until"),
    )
    .order_by(account_data.c.position)
)
_ROOMS_SINCE = (
    sa.select(room_account_data.c.room, room_account_data.c.type, room_account_data.c.content)
    .where(
        room_account_data.c.user == sa.bindparam("of_user"),
        room_account_data.c.position > sa.bindparam("after"),
        room_account_data.c.position <= sa.bindparam("until"),
    )
    .order_by(room_account_data.c.position)
)
