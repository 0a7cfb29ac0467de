"""Profiles of users: a row for each field, its value as JSON.

Beside a display name lies its case-folded form, by which the user directory finds it in any alphabet.
"""

from collections.abc import Collection

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import UserNid
from homeserver.model.profiles import AVATAR_URL, DISPLAY_NAME, PublicNames
from homeserver.storage.database import Write, one_of, upsert
from homeserver.storage.schema.accounts import profiles

USERS_IN_A_QUERY = 5000


def of_user(conn: Connection, user: UserNid) -> dict[str, bytes]:
    """Return all fields of a user's profile."""
    query = sa.select(profiles.c.field, profiles.c.value).where(profiles.c.user == user).order_by(profiles.c.field)
    return dict(conn.execute(query).all())


def names_of(conn: Connection, users: Collection[UserNid]) -> dict[UserNid, PublicNames]:
    """Return display name and avatar of each of the users, in one query."""
    found: dict[UserNid, dict[str, str]] = {user: {} for user in users}
    wanted = list(found)
    query = sa.select(profiles.c.user, profiles.c.field, profiles.c.value).where(
        profiles.c.field.in_((DISPLAY_NAME, AVATAR_URL))
    )
    for start in range(0, len(wanted), USERS_IN_A_QUERY):
        part = wanted[start : start + USERS_IN_A_QUERY]
        for user, field, value in conn.execute(query.where(one_of(profiles.c.user, part))):
            found[UserNid(user)][field] = orjson.loads(value)
    return {user: PublicNames(fields.get(DISPLAY_NAME), fields.get(AVATAR_URL)) for user, fields in found.items()}


def store(tx: Write, user: UserNid, field: str, value: object) -> None:
    """Store a field of a profile."""
    values = {
        "value": orjson.dumps(value),
        "folded": value.casefold() if field == DISPLAY_NAME and isinstance(value, str) else None,
    }
    statement = upsert(tx.conn, profiles).values(user=user, field=field, **values)
    tx.conn.execute(statement.on_conflict_do_update(index_elements=["user", "field"], set_=values))


def remove(tx: Write, user: UserNid, field: str) -> bool:
    """Remove a field from a profile; return whether it was there."""
    where = (profiles.c.user == user) & (profiles.c.field == field)
    return tx.conn.execute(profiles.delete().where(where)).rowcount > 0
