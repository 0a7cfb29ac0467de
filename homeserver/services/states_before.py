"""The state of a room before one of its events. What is stored is the state after it."""

from dataclasses import dataclass

from sqlalchemy import Connection

from homeserver.model.events import Event
from homeserver.storage.snapshots import Snapshots, State


@dataclass(frozen=True, slots=True)
class StatesBefore:
    """Takes an event out of the state to which it has led."""

    snapshots: Snapshots

    def before(self, conn: Connection, event: Event) -> State:
        """Return the state before an event whose own is known."""
        assert event.snapshot is not None
        state = self.snapshots.state(conn, event.snapshot)
        if event.slot is None:
            return state
        # By its own past, and not by what the room had when it came: other servers take what we say of it.
        return state.discard(event.slot) if event.stood is None else state.insert(event.slot, event.stood)
