"""The newest events of many rooms at once: one statement, and for each room no more rows than are wanted."""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.events import Status
from homeserver.model.nids import EventNid, RoomNid, SnapshotNid
from homeserver.storage.schema.rooms import events, rooms


def newest(
    conn: Connection, wanted: Iterable[RoomNid], *, after: int, until: int, limit: int
) -> dict[RoomNid, list[EventNid]]:
    """Return for each room its accepted events with `after` < nid <= `until`, newest first, at most `limit`."""
    found: dict[RoomNid, list[EventNid]] = {}
    for room, nid in _newest(conn, list(wanted), after, until, limit):
        found.setdefault(RoomNid(room), []).append(EventNid(nid))
    for nids in found.values():
        nids.sort(reverse=True)
    return found


def _newest(conn: Connection, wanted: list[RoomNid], after: int, until: int, limit: int) -> Iterable[tuple[int, int]]:
    inner = (
        sa.select(events.c.nid)
        .where(
            events.c.room == rooms.c.nid,
            events.c.nid > after,
            events.c.nid <= until,
            events.c.status == int(Status.ACCEPTED),
        )
        .order_by(events.c.nid.desc())
        .limit(limit)
        .correlate(rooms)
    )
    return conn.execute(_for_each(conn, inner, wanted))


def _for_each(conn: Connection, inner: sa.Select[int], wanted: list[RoomNid]) -> sa.Select[int, int]:
    """Return the query that gives what `inner` gives, for each of the rooms."""
    if conn.dialect.name == "postgresql":
        each = inner.lateral("each")
        both = rooms.join(each, sa.true())
        return sa.select(rooms.c.nid, each.c.nid).select_from(both).where(rooms.c.nid.in_(wanted))
    # SQLite knows no LATERAL, but runs a correlated subquery with its own limit for each room.
    outer = events.alias("outer_events")
    both = rooms.join(outer, outer.c.nid.in_(inner))
    return sa.select(rooms.c.nid, outer.c.nid).select_from(both).where(rooms.c.nid.in_(wanted))


def states_at(conn: Connection, wanted: Iterable[RoomNid], position: int) -> dict[RoomNid, SnapshotNid]:
    """Return for each room the snapshot of its resolved state as of a position; rooms younger than it are missing."""
    inner = (
        sa.select(events.c.nid)
        .where(events.c.room == rooms.c.nid, events.c.nid <= position, events.c.snapshot.is_not(None))
        .order_by(events.c.nid.desc())
        .limit(1)
        .correlate(rooms)
    )
    last = {nid: RoomNid(room) for room, nid in conn.execute(_for_each(conn, inner, list(wanted)))}
    query = sa.select(events.c.nid, sa.func.coalesce(events.c.room_snapshot, events.c.snapshot)).where(
        events.c.nid.in_(list(last))
    )
    return {last[nid]: SnapshotNid(snapshot) for nid, snapshot in conn.execute(query)}
