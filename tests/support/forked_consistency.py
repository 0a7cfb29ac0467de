"""Whether what a database holds of rooms that are shared with other servers fits together, forks and all."""

from collections import Counter, defaultdict
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import UserID, server_of
from homeserver.model.events import Status
from homeserver.storage import rooms as room_store
from homeserver.storage.database import current_position
from homeserver.storage.schema.rooms import event_types, events, memberships, room_servers, rooms, state_slots
from homeserver.storage.snapshots import Snapshots

_KEPT_APART = (Status.REJECTED, Status.OUTLIER)


def check(conn: Connection) -> None:
    """Hold every room's head, members and servers against its state and events. Raises AssertionError."""
    if conn.dialect.name == "sqlite":
        assert conn.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
        assert conn.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    by_room: dict[int, dict[int, Any]] = defaultdict(dict)
    by_id: dict[str, Any] = {}
    for row in conn.execute(sa.select(events)):
        by_room[row.room][row.nid] = by_id[row.event_id] = row
    assert max((row.nid for row in by_id.values()), default=0) <= current_position(conn)
    for row in by_id.values():
        _check_event(conn, row, by_id)
    for room in conn.execute(sa.select(rooms.c.nid)).scalars().all():
        _check_room(conn, room_store.load(conn, room), by_room[room])


def _check_event(conn: Connection, row: Any, by_id: dict[str, Any]) -> None:
    envelope = orjson.loads(row.envelope)
    cited = [each[0] if isinstance(each, list) else each for each in envelope["auth_events"]]
    if row.status in (Status.ACCEPTED, Status.SOFT_FAILED):
        found = [by_id.get(event_id) for event_id in cited]
        assert all(each is not None for each in found), f"{row.event_id} stands on what is not here"
        assert all(each.room == row.room for each in found if each), f"{row.event_id} stands on another room"
        assert all(each.status != Status.REJECTED for each in found if each), f"{row.event_id} stands on a rejected one"
        assert row.snapshot is not None, f"nobody knows the state after {row.event_id}"
        if row.slot is not None:
            state = dict(Snapshots().state(conn, row.snapshot).items())
            assert state.get(row.slot) == row.nid, f"{row.event_id} is not in the state after it"
    if row.status in _KEPT_APART or row.status == Status.SOFT_FAILED:
        assert row.place is None, f"{row.event_id} is in the timeline"


def _check_room(conn: Connection, head: Any, rows: dict[int, Any]) -> None:
    places = Counter(row.place for row in rows.values() if row.place is not None)
    assert all(times == 1 for times in places.values()), "two events have the same place"
    stored = conn.execute(sa.select(memberships).where(memberships.c.room == head.nid)).all()
    assert all(row.event in rows for row in stored), "a membership rests on an event of another room"
    if head.snapshot is None:
        return
    for nid in head.extremities:
        assert rows[nid].status == Status.ACCEPTED, "what was not accepted is built upon"
    assert head.extremities
    slots = {
        slot: (kind, key)
        for slot, kind, key in conn.execute(
            sa.select(state_slots.c.nid, event_types.c.type, state_slots.c.state_key).join(
                event_types, event_types.c.nid == state_slots.c.type
            )
        )
    }
    members: dict[str, str] = {}
    for slot, nid in Snapshots().state(conn, head.snapshot).items():
        row = rows[nid]
        assert row.status != Status.REJECTED, f"{row.event_id} was rejected and is in the state"
        assert row.slot == slot
        kind, key = slots[slot]
        if kind == "m.room.member" and _is_user(key):
            members[key] = orjson.loads(row.content).get("membership")
    joined = Counter(server_of(UserID(key)) for key, membership in members.items() if membership == "join")
    assert head.joined == joined.total(), f"{head.joined} are counted, {joined.total()} joined"
    assert head.invited == list(members.values()).count("invite")
    servers = conn.execute(sa.select(room_servers).where(room_servers.c.room == head.nid)).all()
    assert {row.server: row.joined for row in servers} == dict(joined)


def _is_user(key: str) -> bool:
    return key.startswith("@") and ":" in key
