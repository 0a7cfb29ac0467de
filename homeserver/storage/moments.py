"""Events by their timestamps."""

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.events import Status
from homeserver.model.nids import EventNid, RoomNid
from homeserver.storage.schema.rooms import events


def near(
    conn: Connection, room: RoomNid, sent_at: int, beyond: int, until: int, *, limit: int, backwards: bool
) -> list[tuple[EventNid, int, int]]:
    """Return events of a room with places and timestamps, nearest first, from a moment on or back, at most `limit`.

    Of those that were sent at the very moment, only the ones on the far side of the place `beyond`; of all, only
    those up to the place `until`.
    """
    key = sa.tuple_(events.c.sent_at, events.c.place)
    start = sa.tuple_(sa.literal(sent_at), sa.literal(beyond))
    query = (
        sa.select(events.c.nid, events.c.place, events.c.sent_at)
        .where(events.c.room == room, events.c.status == int(Status.ACCEPTED), events.c.place <= until)
        .where(key < start if backwards else key > start)
        .limit(limit)
    )
    if backwards:
        query = query.order_by(events.c.sent_at.desc(), events.c.place.desc())
    else:
        query = query.order_by(events.c.sent_at, events.c.place)
    return [(EventNid(nid), place, moment) for nid, place, moment in conn.execute(query)]
