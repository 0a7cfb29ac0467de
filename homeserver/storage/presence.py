"""What is kept of users' presence while they are away: one row a user."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import UserNid
from homeserver.model.presence import PresenceState
from homeserver.storage.database import Write, upsert
from homeserver.storage.schema.accounts import presence


@dataclass(frozen=True, slots=True)
class StoredPresence:
    """The presence of a user as it was last stored."""

    user: UserNid
    state: PresenceState
    status_msg: str | None
    last_active_at: int


def of_user(conn: Connection, user: UserNid) -> StoredPresence | None:
    """Return what was last stored of a user."""
    row = conn.execute(sa.select(presence).where(presence.c.user == user)).one_or_none()
    if row is None:
        return None
    return StoredPresence(user, PresenceState(row.state), row.status_msg, row.last_active_at)


def store(tx: Write, people: Sequence[StoredPresence]) -> None:
    """Store the presence of some users."""
    insert = upsert(tx.conn, presence)
    columns = ("state", "status_msg", "last_active_at")
    statement = insert.on_conflict_do_update(
        index_elements=["user"], set_={name: getattr(insert.excluded, name) for name in columns}
    )
    rows = [
        {
            "user": one.user,
            "state": str(one.state),
            "status_msg": one.status_msg,
            "last_active_at": one.last_active_at,
        }
        for one in people
    ]
    if rows:
        tx.conn.execute(statement, rows)
