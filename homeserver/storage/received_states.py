"""States of rooms as other servers name them: by event IDs, many at once."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import EventID
from homeserver.model.events import Status
from homeserver.model.nids import RoomNid
from homeserver.storage.schema.rooms import event_types, events, state_slots

MOST_IN_A_QUERY = 5000


def slots_of(conn: Connection, room: RoomNid, event_ids: Collection[EventID]) -> dict[tuple[str, str], EventID]:
    """Return the state that these events make up, by type and state key.

    What is not stored, rejected, not judged, of another room or no state event is no part of it. Where two stand in one
    place, one of them is taken.
    """
    wanted = sorted(set(event_ids))
    found: dict[tuple[str, str], EventID] = {}
    for start in range(0, len(wanted), MOST_IN_A_QUERY):
        rows = conn.execute(_SLOTS, {"in_room": room, "wanted": wanted[start : start + MOST_IN_A_QUERY]})
        found.update(((event_type, state_key), EventID(event_id)) for event_type, state_key, event_id in rows)
    return found


_SLOTS = (
    sa.select(event_types.c.type, state_slots.c.state_key, events.c.event_id)
    .join(state_slots, state_slots.c.nid == events.c.slot)
    .join(event_types, event_types.c.nid == events.c.type)
    .where(
        events.c.room == sa.bindparam("in_room"),
        events.c.event_id.in_(sa.bindparam("wanted", expanding=True)),
        events.c.status.not_in((int(Status.REJECTED), int(Status.UNJUDGED))),
    )
    .order_by(events.c.event_id)
)
