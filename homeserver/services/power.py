"""Power levels as they are in a room now."""

from collections.abc import Callable
from functools import cache

from sqlalchemy import Connection

from federation.core.auth.selection import CREATE, POWER_LEVELS
from federation.core.events.content import PowerLevels, creators_of
from homeserver.model.rooms import Room
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.snapshots import Snapshots


def levels_in(conn: Connection, names: Names, events: Events, snapshots: Snapshots, room: Room) -> PowerLevels | None:
    """Return the power levels of a room, or None if it has no events yet."""
    if room.snapshot is None:
        return None
    state = snapshots.state(conn, room.snapshot)
    slots = names.slots(conn, [CREATE, POWER_LEVELS])
    nids = {pair: nid for pair, slot in slots.items() if (nid := state.get(slot)) is not None}
    loaded = events.by_nids(conn, nids.values())
    if CREATE not in nids:
        return None
    levels = loaded[nids[POWER_LEVELS]] if POWER_LEVELS in nids else None
    content = levels.content if levels is not None else None
    return PowerLevels.of(content, room.version, creators_of(loaded[nids[CREATE]].pdu))


def may_notify(
    conn: Connection, names: Names, events: Events, snapshots: Snapshots, room: Room
) -> Callable[[str, str], bool]:
    """Return what tells whether a sender may notify by a key such as "room"; to be asked while `conn` can be read.

    Source: https://spec.matrix.org/v1.19/client-server-api/#conditions-1, `sender_notification_permission`
    """

    @cache
    def levels() -> PowerLevels | None:
        return levels_in(conn, names, events, snapshots, room)

    def may(sender: str, key: str) -> bool:
        found = levels()
        return found is not None and found.user_level(sender) >= found.notification_level(key)

    return may
