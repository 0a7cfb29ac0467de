"""The events that authorise others, and those that authorise these, up to the room's beginning.

Source: https://spec.matrix.org/v1.19/server-server-api/#auth-events-selection
"""

import threading
from collections.abc import Collection, Iterable

from sqlalchemy import Connection

from federation.core.ids import EventID
from homeserver.errors import TooLarge
from homeserver.model.bounded import forget_oldest
from homeserver.model.rooms import Room
from homeserver.storage import pdus
from homeserver.storage.pdus import AuthMemory

MOST_IN_A_CHAIN = 200_000
"""Events of an auth chain that are told. The largest public rooms have about half as many."""


class AuthChains:
    """Finds auth chains: a generation that is not in memory costs one query."""

    def __init__(self, most: int = 10_000) -> None:
        """Start with nothing in memory; of about so many events the auth events are kept. They never change."""
        self._most = most
        self._known: dict[EventID, tuple[EventID, ...]] = {}
        self._lock = threading.Lock()

    def above(
        self, conn: Connection, room: Room, cited: Iterable[EventID], memory: AuthMemory | None = None
    ) -> set[EventID]:
        """Return the events that are `cited` and all that stand above them; `memory` may know what others cite.

        The create event counts among them, also since room version 12, where it is not cited. Raises `TooLarge`.
        """
        memory = memory if memory is not None else {}
        found: set[EventID] = set()
        implied = () if room.version.create_in_auth_events else (EventID("$" + room.room_id[1:]),)
        generation = {*cited, *implied}
        while generation:
            found |= generation
            if len(found) > MOST_IN_A_CHAIN:
                raise TooLarge("The auth chain is too long")
            edges = self._edges(conn, generation, memory)
            generation = {event_id for above in edges.values() for event_id in above} - found
        return found

    def _edges(
        self, conn: Connection, wanted: Collection[EventID], memory: AuthMemory
    ) -> dict[EventID, tuple[EventID, ...]]:
        found = {event_id: known for event_id in wanted if (known := self._known.get(event_id)) is not None}
        if len(found) < len(wanted):
            loaded = pdus.auth_edges(conn, [event_id for event_id in wanted if event_id not in found], memory)
            found |= loaded
            self._remember(loaded)
        return found

    def _remember(self, loaded: dict[EventID, tuple[EventID, ...]]) -> None:
        with self._lock:
            self._known |= loaded
            forget_oldest(self._known, self._most)
