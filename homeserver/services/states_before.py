"""The state of a room before one of its events. What is stored is the state after it."""

from dataclasses import dataclass

from sqlalchemy import Connection

from homeserver.model.events import Event
from homeserver.model.nids import EventNid, SlotNid
from homeserver.storage.events import Events
from homeserver.storage.snapshots import Snapshots, State


@dataclass(frozen=True, slots=True)
class StatesBefore:
    """Takes an event out of the state to which it has led."""

    events: Events
    snapshots: Snapshots

    def before(self, conn: Connection, event: Event) -> State:
        """Return the state before an event whose own is known."""
        assert event.snapshot is not None
        state = self.snapshots.state(conn, event.snapshot)
        if event.slot is None:
            return state
        # Where the room was not forked, what the event replaced in the room stood before it, too.
        old = event.replaces if event.room_snapshot is None else self._stood(conn, event, event.slot)
        return state.discard(event.slot) if old is None else state.insert(event.slot, old)

    def _stood(self, conn: Connection, event: Event, slot: SlotNid) -> EventNid | None:
        """Return what stood in a slot after the events before this one.

        Where they differ, that is what the branches were resolved to; it is not kept, and what the event replaced in
        the room, or else the newest of them, is nearly always the same.
        """
        before = self.events.by_ids(conn, event.pdu.prev_events).values()
        points = {earlier.snapshot for earlier in before if earlier.snapshot is not None}
        if not points:
            return event.replaces
        stood = {nid for (nid,) in self.snapshots.standing(conn, points, [slot]).values()}
        if len(stood) == 1:
            return stood.pop()
        return event.replaces if event.replaces in stood else max(nid for nid in stood if nid is not None)
