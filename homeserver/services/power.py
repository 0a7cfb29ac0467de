"""Power levels at a point of a room's history."""

from collections.abc import Callable

from sqlalchemy import Connection

from federation.core.events.content import PowerLevels, creators_of
from homeserver.model.events import Event
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.snapshots import Snapshots

CREATE = ("m.room.create", "")
POWER_LEVELS = ("m.room.power_levels", "")


def levels_at(conn: Connection, names: Names, events: Events, snapshots: Snapshots, event: Event) -> PowerLevels | None:
    """Return the power levels as of an event, or None if its state is not known."""
    if event.snapshot is None:
        return None
    state = snapshots.state(conn, event.snapshot)
    slots = names.slots(conn, [CREATE, POWER_LEVELS])
    nids = {pair: nid for pair, slot in slots.items() if (nid := state.get(slot)) is not None}
    loaded = events.by_nids(conn, nids.values())
    if CREATE not in nids:
        return None
    levels = loaded[nids[POWER_LEVELS]] if POWER_LEVELS in nids else None
    return PowerLevels.of(
        levels.content if levels is not None else None, event.version, creators_of(loaded[nids[CREATE]].pdu)
    )


def may_notify(
    conn: Connection, names: Names, events: Events, snapshots: Snapshots, event: Event
) -> Callable[[str], bool]:
    """Return whether the sender of an event may notify by a key such as "room"; asked while `conn` can still be read.

    Source: https://spec.matrix.org/v1.19/client-server-api/#conditions-1, `sender_notification_permission`
    """

    def may(key: str) -> bool:
        levels = levels_at(conn, names, events, snapshots, event)
        return levels is not None and levels.user_level(event.sender) >= levels.notification_level(key)

    return may
