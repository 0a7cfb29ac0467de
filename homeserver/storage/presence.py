"""What of users' presence outlives the process: one row a user, written late and many at once."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from federation.core.ids import UserID
from homeserver.model.nids import UserNid
from homeserver.model.presence import PresenceState, StoredPresence
from homeserver.storage.database import Write, upsert
from homeserver.storage.schema.accounts import presence, users


def find(conn: Connection, user: UserNid) -> StoredPresence | None:
    """Return the stored presence of a user, or None if there is none."""
    row = conn.execute(_ONE, {"of_user": user}).one_or_none()
    return _stored(row) if row is not None else None


def noteworthy(conn: Connection) -> list[StoredPresence]:
    """Return those who were not offline, or have a status message."""
    return [_stored(row) for row in conn.execute(_NOTEWORTHY)]


def store(tx: Write, rows: Collection[StoredPresence]) -> None:
    """Store the presence of users, in place of what was stored; at least one."""
    statement = upsert(tx.conn, presence)
    new = statement.excluded
    update = statement.on_conflict_do_update(
        index_elements=["user"],
        set_={"state": new.state, "status_msg": new.status_msg, "last_active_at": new.last_active_at},
    )
    values = [
        {
            "user": row.user, "state": str(row.state), "status_msg": row.status_msg,
            "last_active_at": row.last_active_ms,
        }
        for row in rows
    ]  # fmt: skip
    tx.conn.execute(update, values)


def _stored(row: Row[tuple[int, str, str, str | None, int]]) -> StoredPresence:
    user, user_id, state, status_msg, last_active_ms = row.tuple()
    return StoredPresence(UserNid(user), UserID(user_id), PresenceState(state), status_msg, last_active_ms)


_ALL = sa.select(
    presence.c.user, users.c.user_id, presence.c.state, presence.c.status_msg, presence.c.last_active_at
).join(users, users.c.nid == presence.c.user)
_ONE = _ALL.where(presence.c.user == sa.bindparam("of_user"))
_NOTEWORTHY = _ALL.where((presence.c.state != str(PresenceState.OFFLINE)) | presence.c.status_msg.is_not(None))
