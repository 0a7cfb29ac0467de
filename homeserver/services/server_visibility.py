"""Which events of a room another server may see, by the room's history visibility at each of them.

https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility speaks of users; a server sees what one of its
users may. What it may not see it gets redacted: it can still check signatures and authorisation, and go on from there.
However many events there are, and wherever in the room's past, it costs a constant number of queries.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.canonical_json import encode_lenient
from federation.core.events.content import HistoryVisibility, Membership, history_visibility_of
from federation.core.events.redaction import redact
from federation.core.ids import ServerName, UserID, server_of
from homeserver.model.events import Event
from homeserver.model.nids import EventNid, SnapshotNid
from homeserver.model.rooms import Room
from homeserver.services.visibility import HISTORY_VISIBILITY, MEMBER
from homeserver.storage import memberships
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.snapshots import Snapshots

FIRST_ASKED = 20
"""Members of a server of whom nearly always one saw the event; only if none did, the others are looked at."""
MOST_ASKED = 2000
"""Members who are looked at together then."""
_OPEN = (HistoryVisibility.WORLD_READABLE, HistoryVisibility.SHARED)
_ENOUGH = {
    HistoryVisibility.INVITED: (Membership.JOIN, Membership.INVITE),
    HistoryVisibility.JOINED: (Membership.JOIN,),
}


@dataclass(frozen=True, slots=True)
class ServerVisibility:
    """Decides what a server that is in a room may see of its past."""

    names: Names
    events: Events
    snapshots: Snapshots

    def forms(self, conn: Connection, origin: ServerName, room: Room, events: Sequence[Event]) -> list[bytes]:
        """Return the events as servers exchange them, those that `origin` may not see redacted, in the order given."""
        seen = self.seen(conn, origin, room, events)
        return [event.federation_json if event.nid in seen else _redacted(event) for event in events]

    def seen(self, conn: Connection, origin: ServerName, room: Room, events: Sequence[Event]) -> set[EventNid]:
        """Return those of the events of a room that a server which is in it may see."""
        current = self.snapshots.state(conn, room.snapshot) if room.snapshot is not None else {}
        seen = {
            event.nid
            for event in events
            # What stands in the room's state is told to everyone who is in it.
            if _is_about(event, origin) or (event.slot is not None and current.get(event.slot) == event.nid)
        }
        # The state around an event of which we have no more than itself is unknown: the present one counts.
        points = {event.nid: event.snapshot or room.snapshot for event in events if event.nid not in seen}
        visibilities = self._visibilities(conn, points.values())
        asked: dict[EventNid, tuple[SnapshotNid, HistoryVisibility]] = {}
        for nid, point in points.items():
            if point is None:
                continue
            if visibilities[point] in _OPEN:
                seen.add(nid)
            else:
                asked[nid] = (point, visibilities[point])
        if asked:
            present = self._present(conn, origin, room, set(asked.values()))
            seen.update(nid for nid, at in asked.items() if at in present)
        return seen

    def _visibilities(
        self, conn: Connection, points: Iterable[SnapshotNid | None]
    ) -> Mapping[SnapshotNid, HistoryVisibility]:
        wanted = {point for point in points if point is not None}
        slot = self.names.slot(conn, *HISTORY_VISIBILITY)
        if slot is None or not wanted:
            return dict.fromkeys(wanted, history_visibility_of(None))
        standing = self.snapshots.standing(conn, wanted, [slot])
        loaded = self.events.by_nids(conn, {nid for (nid,) in standing.values() if nid is not None})
        return {
            point: history_visibility_of(loaded[nid].content if nid in loaded else None)
            for point, (nid,) in standing.items()
        }

    def _present(
        self, conn: Connection, origin: ServerName, room: Room, asked: set[tuple[SnapshotNid, HistoryVisibility]]
    ) -> set[tuple[SnapshotNid, HistoryVisibility]]:
        """Return those points at which somebody of a server was present enough to see what happened."""
        people = memberships.of_server(conn, room.nid, origin)
        found: set[tuple[SnapshotNid, HistoryVisibility]] = set()
        size = FIRST_ASKED
        while people and (waiting := asked - found):
            standings = self._standings(conn, people[:size], {point for point, _ in waiting})
            found |= {at for at in waiting if not standings[at[0]].isdisjoint(_ENOUGH[at[1]])}
            people, size = people[size:], MOST_ASKED
        return found

    def _standings(
        self, conn: Connection, people: Sequence[UserID], points: set[SnapshotNid]
    ) -> dict[SnapshotNid, set[object]]:
        """Return the memberships that any of these people had at each of these points."""
        slots = list(self.names.slots(conn, [(MEMBER, user_id) for user_id in people]).values())
        standing = self.snapshots.standing(conn, points, slots)
        loaded = self.events.by_nids(conn, {nid for nids in standing.values() for nid in nids if nid is not None})
        return {
            point: {loaded[nid].content.get("membership") for nid in nids if nid in loaded}
            for point, nids in standing.items()
        }


def _is_about(event: Event, origin: ServerName) -> bool:
    """Return whether a server knows of an event in any case: it has sent it, or one of its users is the target."""
    if server_of(event.sender) == origin:
        return True
    return event.type == MEMBER and (event.state_key or "").endswith(f":{origin}")


def _redacted(event: Event) -> bytes:
    return encode_lenient(redact(event.pdu.fields, event.version))
