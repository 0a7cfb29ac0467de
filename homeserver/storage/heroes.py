"""The members after whom a room without a name is called."""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.events.content import Membership
from homeserver.model.nids import EventNid, RoomNid, UserNid
from homeserver.storage.database import one_of
from homeserver.storage.schema.rooms import memberships, rooms

MOST = 5
PRESENT = (str(Membership.JOIN), str(Membership.INVITE))
GONE = (str(Membership.LEAVE), str(Membership.BAN))


def heroes(conn: Connection, wanted: Iterable[RoomNid], user: UserNid) -> dict[RoomNid, list[tuple[UserNid, EventNid]]]:
    """Return for each room up to five members besides `user` with their membership events, in the order they came.

    Those who have left or were banned stand in where nobody else is there. Two queries at most.
    Source: `m.heroes` of https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync
    """
    rooms_wanted = list(wanted)
    found = _first(conn, rooms_wanted, user, PRESENT)
    lonely = [room for room in rooms_wanted if room not in found]
    if lonely:
        found |= _first(conn, lonely, user, GONE)
    return found


def _first(
    conn: Connection, wanted: list[RoomNid], user: UserNid, kinds: tuple[str, ...]
) -> dict[RoomNid, list[tuple[UserNid, EventNid]]]:
    inner = (
        sa.select(memberships.c.user, memberships.c.event)
        .where(memberships.c.room == rooms.c.nid, memberships.c.user != user, memberships.c.membership.in_(kinds))
        .order_by(memberships.c.event)
        .limit(MOST)
        .correlate(rooms)
    )
    if conn.dialect.name == "postgresql":
        each = inner.lateral("each")
        query = (
            sa.select(rooms.c.nid, each.c.user, each.c.event)
            .select_from(rooms.join(each, sa.true()))
            .where(one_of(rooms.c.nid, wanted))
        )
    else:
        # SQLite knows no LATERAL, but runs a correlated subquery with its own limit for each room.
        outer = memberships.alias("outer_memberships")
        users_of_room = inner.with_only_columns(memberships.c.user)
        query = (
            sa.select(rooms.c.nid, outer.c.user, outer.c.event)
            .select_from(rooms.join(outer, (outer.c.room == rooms.c.nid) & outer.c.user.in_(users_of_room)))
            .where(one_of(rooms.c.nid, wanted))
        )
    found: dict[RoomNid, list[tuple[UserNid, EventNid]]] = {}
    for room, member, event in conn.execute(query):
        found.setdefault(RoomNid(room), []).append((UserNid(member), EventNid(event)))
    for members in found.values():
        members.sort(key=lambda pair: pair[1])
    return found
