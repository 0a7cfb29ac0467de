"""Joins of rooms of other servers that have begun: a restart finds them again."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import RoomID, UserID
from homeserver.model.nids import UserNid
from homeserver.storage.database import Write, upsert
from homeserver.storage.schema.accounts import users
from homeserver.storage.schema.receiving import unfinished_joins

KEPT_MS = 24 * 60 * 60 * 1000
"""How long a join is tried again after restarts."""


@dataclass(frozen=True, slots=True)
class UnfinishedJoin:
    """A join that was asked for and has not ended."""

    user: UserNid
    user_id: UserID
    room_id: RoomID
    request: bytes


def begin(tx: Write, user: UserNid, room_id: RoomID, request: bytes, now_ms: int) -> None:
    """Store that a join has begun; `request` is JSON."""
    values = {"request": request, "created_at": now_ms}
    statement = upsert(tx.conn, unfinished_joins).values(user=user, room_id=room_id, **values)
    tx.conn.execute(statement.on_conflict_do_update(index_elements=["user", "room_id"], set_=values))


def end(tx: Write, user: UserNid, room_id: RoomID) -> None:
    """Forget a join, however it ended."""
    where = (unfinished_joins.c.user == user) & (unfinished_joins.c.room_id == room_id)
    tx.conn.execute(unfinished_joins.delete().where(where))


def load(conn: Connection) -> list[UnfinishedJoin]:
    """Return the joins that have not ended, oldest first."""
    query = (
        sa.select(unfinished_joins, users.c.user_id)
        .join(users, users.c.nid == unfinished_joins.c.user)
        .order_by(unfinished_joins.c.created_at)
    )
    return [
        UnfinishedJoin(UserNid(row.user), UserID(row.user_id), RoomID(row.room_id), bytes(row.request))
        for row in conn.execute(query)
    ]


def prune(tx: Write, now_ms: int) -> int:
    """Forget the joins that have been tried for too long; return how many."""
    old = unfinished_joins.delete().where(unfinished_joins.c.created_at < now_ms - KEPT_MS)
    return tx.conn.execute(old).rowcount
