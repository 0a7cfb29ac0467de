"""The newest events of many rooms at once: one statement, and for each room no more rows than are wanted."""

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.events import Status
from homeserver.model.nids import EventNid, RoomNid, SnapshotNid
from homeserver.storage.database import Hot, among, numbers
from homeserver.storage.schema.rooms import events, rooms


def newest(
    conn: Connection, wanted: Collection[RoomNid], *, after: int, until: int, limit: int
) -> dict[RoomNid, list[EventNid]]:
    """Return for each room its accepted events with `after` < place <= `until`, newest first, at most `limit`."""
    found: dict[RoomNid, list[tuple[int, EventNid]]] = {}
    values = {"wanted": numbers(conn, wanted), "first": after, "last": until, "most": limit}
    for room, nid, place in _NEWEST.run(conn, values):
        found.setdefault(room, []).append((place, nid))
    return {room: [nid for _, nid in sorted(placed, reverse=True)] for room, placed in found.items()}


def states_at(conn: Connection, wanted: Collection[RoomNid], position: int) -> dict[RoomNid, SnapshotNid]:
    """Return for each room the snapshot of its resolved state as of a position; rooms younger than it are missing."""
    return states_at_places(conn, dict.fromkeys(wanted, position))


def states_at_places(conn: Connection, wanted: Mapping[RoomNid, int]) -> dict[RoomNid, SnapshotNid]:
    """Return for each room the snapshot of its resolved state as of a position of its own."""
    by_place: dict[int, list[RoomNid]] = {}
    for room, place in wanted.items():
        by_place.setdefault(place, []).append(room)
    found: dict[RoomNid, SnapshotNid] = {}
    for place, group in by_place.items():
        rows = _STATES.run(conn, {"wanted": numbers(conn, group), "last": place, "most": 1})
        found.update((room, room_snapshot or snapshot) for room, _, room_snapshot, snapshot in rows)
    return found


def _for_each(inner: sa.Select[Any]) -> Hot:
    """Return the statement that gives what `inner` gives, for each of the rooms."""
    inner = inner.where(events.c.room == rooms.c.nid, events.c.place <= sa.bindparam("last"))
    inner = inner.order_by(events.c.place.desc()).limit(sa.bindparam("most", type_=sa.Integer)).correlate(rooms)
    each = inner.lateral("each")
    lateral = sa.select(rooms.c.nid, *each.c).select_from(rooms.join(each, sa.true()))
    # SQLite knows no LATERAL, but runs a correlated subquery with its own limit for each room.
    outer = events.alias("outer_events")
    both = rooms.join(outer, outer.c.nid.in_(inner.with_only_columns(events.c.nid)))
    correlated = sa.select(rooms.c.nid, *(outer.c[column.name] for column in each.c)).select_from(both)
    these = among(rooms.c.nid, "wanted")
    return Hot(correlated.where(these), postgresql=lateral.where(these))


_NEWEST = _for_each(
    sa.select(events.c.nid, events.c.place).where(
        events.c.place > sa.bindparam("first"), events.c.status == int(Status.ACCEPTED)
    )
)
_STATES = _for_each(
    sa.select(events.c.nid, events.c.room_snapshot, events.c.snapshot).where(events.c.snapshot.is_not(None))
)
