"""Whether what a database holds fits together: rooms, their events, their state, their members."""

from collections import Counter, defaultdict
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import EventNid, SlotNid
from homeserver.storage import rooms as room_store
from homeserver.storage.database import current_position
from homeserver.storage.schema.delivery import client_transactions
from homeserver.storage.schema.rooms import events, memberships, rooms
from homeserver.storage.snapshots import Snapshots


def check(conn: Connection) -> None:
    """Hold every room against a replay of its events. Raises AssertionError."""
    if conn.dialect.name == "sqlite":
        assert conn.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
        assert conn.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    by_room: dict[int, list[Any]] = defaultdict(list)
    for row in conn.execute(sa.select(events).order_by(events.c.nid)):
        by_room[row.room].append(row)
    newest = max((rows[-1].nid for rows in by_room.values()), default=0)
    assert newest <= current_position(conn)
    known = {row.event_id for rows in by_room.values() for row in rows}
    for room in conn.execute(sa.select(rooms.c.nid)).scalars().all():
        _check_room(conn, room_store.load(conn, room), by_room[room], known)
    sent = Counter(conn.execute(sa.select(client_transactions.c.event)).scalars())
    assert all(times == 1 for times in sent.values())


def _check_room(conn: Connection, head: Any, rows: list[Any], known: set[str]) -> None:
    assert rows, "a room has its create event"
    snapshots = Snapshots()
    state: dict[SlotNid, EventNid] = {}
    members: dict[str, Any] = {}
    previous = None
    for row in rows:
        envelope, content = orjson.loads(row.envelope), orjson.loads(row.content)
        assert envelope["prev_events"] == ([previous.event_id] if previous is not None else [])
        assert set(envelope["auth_events"]) <= known
        assert row.depth == (previous.depth + 1 if previous is not None else 1)
        if row.slot is not None:
            assert row.replaces == state.get(row.slot)
            state[row.slot] = row.nid
            if envelope["type"] == "m.room.member":
                members[envelope["state_key"]] = (content["membership"], row.nid)
        assert dict(snapshots.state(conn, row.snapshot).items()) == state
        previous = row
    assert previous is not None
    assert (head.newest, head.depth, head.extremities) == (previous.nid, previous.depth, (previous.nid,))
    assert head.snapshot == previous.snapshot
    how_many = Counter(membership for membership, _ in members.values())
    assert (head.joined, head.invited) == (how_many["join"], how_many["invite"])
    stored = conn.execute(sa.select(memberships).where(memberships.c.room == head.nid)).all()
    assert sorted((row.membership, row.event) for row in stored) == sorted(members.values())
