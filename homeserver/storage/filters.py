"""Filters that clients have defined: equal ones of a user share a row."""

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import UserNid
from homeserver.storage.database import Write
from homeserver.storage.schema.accounts import filters

MOST_OF_A_USER = 500


def store(tx: Write, user: UserNid, hashed: bytes, body: bytes) -> int:
    """Store a filter of a user unless it is there; return its ID.

    Of more than `MOST_OF_A_USER` the oldest one goes; IDs are never given again.
    """
    mine = filters.c.user == user
    known: int | None = tx.conn.execute(
        sa.select(filters.c.filter_id).where(mine, filters.c.hash == hashed)
    ).scalar_one_or_none()
    if known is not None:
        return known
    count, last = tx.conn.execute(sa.select(sa.func.count(), sa.func.max(filters.c.filter_id)).where(mine)).one()
    if count >= MOST_OF_A_USER:
        oldest = sa.select(sa.func.min(filters.c.filter_id)).where(mine).scalar_subquery()
        tx.conn.execute(filters.delete().where(mine, filters.c.filter_id == oldest))
    filter_id = last + 1 if last is not None else 0
    tx.conn.execute(filters.insert().values(user=user, filter_id=filter_id, hash=hashed, body=body))
    return filter_id


def find(conn: Connection, user: UserNid, filter_id: int) -> bytes | None:
    """Return the body of a filter."""
    query = sa.select(filters.c.body).where(filters.c.user == user, filters.c.filter_id == filter_id)
    return conn.execute(query).scalar_one_or_none()
