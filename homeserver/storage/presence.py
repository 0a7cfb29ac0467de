"""What is kept of users' presence while they are away: one row a user."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from federation.core.events.content import Membership
from homeserver.model.nids import RoomNid, UserNid
from homeserver.model.presence import PresenceState
from homeserver.storage.database import Write, upsert
from homeserver.storage.schema.accounts import presence
from homeserver.storage.schema.rooms import memberships


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
    return _stored(user, row)


def those_present(conn: Connection) -> dict[UserNid, tuple[StoredPresence, frozenset[RoomNid]]]:
    """Return those who were not offline when they were last stored, with the rooms that they have joined."""
    there = presence.c.state != str(PresenceState.OFFLINE)
    joined = (memberships.c.user == presence.c.user) & (memberships.c.membership == str(Membership.JOIN))
    query = sa.select(presence.c.user, memberships.c.room).join(memberships, joined).where(there)
    rooms: dict[int, set[RoomNid]] = {}
    for user, room in conn.execute(query):
        rooms.setdefault(user, set()).add(RoomNid(room))
    return {
        UserNid(row.user): (_stored(row.user, row), frozenset(rooms.get(row.user, ())))
        for row in conn.execute(sa.select(presence).where(there))
    }


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


def _stored(user: UserNid, row: Row[Any]) -> StoredPresence:
    return StoredPresence(user, PresenceState(row.state), row.status_msg, row.last_active_at)
