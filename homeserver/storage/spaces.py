"""The rooms in spaces."""

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import SlotNid
from homeserver.storage.schema.rooms import event_types, state_slots

CHILD = "m.space.child"


def child_slots(conn: Connection) -> dict[SlotNid, str]:
    """Return all slots of `m.space.child` events, each with the room that it names."""
    return {SlotNid(nid): state_key for nid, state_key in conn.execute(_CHILDREN)}


_CHILDREN = (
    sa.select(state_slots.c.nid, state_slots.c.state_key)
    .join(event_types, event_types.c.nid == state_slots.c.type)
    .where(event_types.c.type == CHILD)
)
