"""What users have made of their push rules: one row each, missing where nothing was changed."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import UserNid
from homeserver.storage.database import Write, one_of, upsert
from homeserver.storage.schema.accounts import push_rules

MOST_IN_A_QUERY = 5000


def of_user(conn: Connection, user: UserNid) -> tuple[int, bytes] | None:
    """Return the position and the rules of a user, or None if they have the predefined ones."""
    row = conn.execute(_OF_USER, {"of_user": user}).one_or_none()
    return (row.position, row.rules) if row is not None else None


def of_users(conn: Connection, users: Collection[UserNid]) -> dict[UserNid, tuple[int, bytes]]:
    """Return the positions and rules of those of the users who have changed any."""
    found: dict[UserNid, tuple[int, bytes]] = {}
    wanted = list(users)
    for start in range(0, len(wanted), MOST_IN_A_QUERY):
        part = wanted[start : start + MOST_IN_A_QUERY]
        for row in conn.execute(_SELECT.where(one_of(push_rules.c.user, part))):
            found[UserNid(row.user)] = (row.position, row.rules)
    return found


def store(tx: Write, user: UserNid, rules: bytes) -> int:
    """Store the rules of a user; return the position of the change."""
    position = tx.position()
    values = {"rules": rules, "position": position}
    statement = upsert(tx.conn, push_rules).values(user=user, **values)
    tx.conn.execute(statement.on_conflict_do_update(index_elements=["user"], set_=values))
    return position


_SELECT = sa.select(push_rules.c.user, push_rules.c.rules, push_rules.c.position)
_OF_USER = _SELECT.where(push_rules.c.user == sa.bindparam("of_user"))
