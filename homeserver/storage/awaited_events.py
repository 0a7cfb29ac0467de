"""Events that we lack and that events we have refer to: as what comes before them, or as what they redact."""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import EventID
from homeserver.model.nids import EventNid, RoomNid, SnapshotNid
from homeserver.storage.database import Hot, Write, upsert
from homeserver.storage.schema.rooms import awaited_events


def add(
    tx: Write, room: RoomNid, event_ids: Iterable[EventID], by: EventNid, snapshot: SnapshotNid | None = None
) -> None:
    """Remember that an event of the room refers to others that are not here; `snapshot` is the state after them."""
    rows = [
        {"room": room, "event_id": event_id, "by": by, "snapshot": snapshot}
        for event_id in event_ids
        if "\0" not in event_id
    ]
    if rows:
        tx.conn.execute(upsert(tx.conn, awaited_events).on_conflict_do_nothing(), rows)


def waiting_for(conn: Connection, room: RoomNid, event_id: EventID) -> list[EventNid]:
    """Return the events that wait for one."""
    if "\0" in event_id:
        return []
    return [EventNid(by) for (by,) in _WAITING.run(conn, {"of_room": room, "wanted": event_id})]


def states_after(conn: Connection, room: RoomNid, event_ids: Iterable[EventID]) -> dict[EventID, SnapshotNid]:
    """Return the states after those of the events that are awaited, as far as these are known."""
    wanted = [event_id for event_id in event_ids if "\0" not in event_id]
    query = sa.select(awaited_events.c.event_id, awaited_events.c.snapshot).where(
        awaited_events.c.room == room, awaited_events.c.event_id.in_(wanted), awaited_events.c.snapshot.is_not(None)
    )
    # In the order of those who wait: where two were given different states, the first is believed.
    rows = conn.execute(query.order_by(awaited_events.c.by.desc()))
    return {EventID(event_id): SnapshotNid(snapshot) for event_id, snapshot in rows}


def remove(tx: Write, room: RoomNid, event_ids: Iterable[EventID]) -> None:
    """Forget that these were waited for: they are here."""
    where = (awaited_events.c.room == room) & awaited_events.c.event_id.in_(list(event_ids))
    tx.conn.execute(awaited_events.delete().where(where))


def in_room(conn: Connection, room: RoomNid) -> list[tuple[EventID, EventNid]]:
    """Return all that is awaited in a room, each with an event that waits for it."""
    query = sa.select(awaited_events.c.event_id, awaited_events.c.by).where(awaited_events.c.room == room)
    return [(EventID(event_id), EventNid(by)) for event_id, by in conn.execute(query)]


_WAITING = Hot(
    sa.select(awaited_events.c.by).where(
        awaited_events.c.room == sa.bindparam("of_room"), awaited_events.c.event_id == sa.bindparam("wanted")
    )
)
