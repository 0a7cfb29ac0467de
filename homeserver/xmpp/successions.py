"""Rooms that go on elsewhere: https://spec.matrix.org/v1.19/client-server-api/#room-upgrades."""

from collections.abc import Mapping

from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.ids import RoomID, parse_room_id
from homeserver.model.nids import RoomNid
from homeserver.services import Services
from homeserver.services.room_views import RoomView

TOMBSTONE = "m.room.tombstone"


def successors(conn: Connection, services: Services, rooms: Mapping[RoomNid, RoomView]) -> dict[RoomNid, RoomNid]:
    """Return in whose place others stand now of these rooms, with those; this server must be in them as well.

    In a constant number of queries.
    """
    views = services.summaries.views
    slot = views.names.slot(conn, TOMBSTONE, "")
    if slot is None or not rooms:
        return {}
    snapshots = {nid: view.room.snapshot for nid, view in rooms.items()}
    states = views.snapshots.standing(conn, {nid for nid in snapshots.values() if nid is not None}, [slot])
    nids = {room: nid for room, state in snapshots.items() if state is not None and (nid := states[state][0])}
    tombstones = views.events.by_nids(conn, nids.values())
    wanted: dict[RoomNid, RoomID] = {}
    for room, nid in nids.items():
        try:
            wanted[room] = parse_room_id(str(tombstones[nid].content.get("replacement_room")))
        except InvalidIdentifier:
            continue
    known = views.names.room_nids(conn, set(wanted.values()))
    here = {nid for nid, view in views.load(conn, known.values()).items() if view.room.snapshot is not None}
    found = {room: known[room_id] for room, room_id in wanted.items() if room_id in known}
    return {room: successor for room, successor in found.items() if successor in here and successor != room}
