"""What was before an event, along `prev_events`: https://spec.matrix.org/v1.19/server-server-api/#pdus.

A room's past is mostly one long chain, so a stretch of the timeline is read at once, and only what is not in it is
asked for by its ID.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from sqlalchemy import Connection

from federation.core.ids import EventID
from homeserver.model.events import Event, Status
from homeserver.model.rooms import Room
from homeserver.storage.events import Events

_TOLD = (Status.ACCEPTED, Status.SOFT_FAILED)
_APART = (Status.OUTLIER, Status.UNJUDGED)
MOST_PASSED_OVER = 200
"""Rejected events over which the walk goes on."""
MARGIN = 20
"""Events that are read beyond those wanted: branches lie beside one another in the timeline."""


@dataclass(slots=True)
class Ancestors:
    """Walks back in one room, for one answer."""

    conn: Connection
    events: Events
    room: Room
    _known: dict[EventID, Event | None] = field(default_factory=dict)
    _stretches: int = 3
    """How many may still be read; a past that is so scattered is read event by event then."""
    _passed_over: int = 0

    def back_from(self, starts: Collection[EventID], limit: int) -> list[Event]:
        """Return the events with which to start and what was before them: those of greatest depth, greatest first."""
        found: list[Event] = []
        met = set(starts)
        waiting = [(-event.depth, event.event_id, event) for event in self._load(starts, limit)]
        heapify(waiting)
        while waiting and len(found) < limit:
            _, _, event = heappop(waiting)
            found += self._told([event])
            before = [event_id for event_id in event.pdu.prev_events if event_id not in met]
            met.update(before)
            for earlier in self._load(before, limit - len(found)):
                heappush(waiting, (-earlier.depth, earlier.event_id, earlier))
        return found

    def between(
        self, earliest: Collection[EventID], latest: Collection[EventID], *, limit: int, min_depth: int
    ) -> list[Event]:
        """Return what was before the `latest` events, generation by generation, oldest first; not the `earliest`.

        Neither the `latest` events are among them, nor any of less than a depth.
        """
        found: list[Event] = []
        met = {*earliest, *latest}
        generation = self._load([event_id for event_id in latest if event_id not in earliest], limit)
        while generation and len(found) < limit:
            before = list(dict.fromkeys(cited for event in generation for cited in event.pdu.prev_events))
            before = [event_id for event_id in before if event_id not in met]
            met.update(before)
            generation = [event for event in self._load(before, limit - len(found)) if event.depth >= min_depth]
            found += self._told(generation)
        del found[limit:]
        return sorted(found, key=lambda event: (event.depth, event.place or 0))

    def _load(self, event_ids: Iterable[EventID], more: int) -> list[Event]:
        """Return those of the events that belong to the room's past; `more` is how many events will be wanted yet."""
        wanted = list(event_ids)
        missing = [event_id for event_id in wanted if event_id not in self._known]
        if missing:
            loaded = self.events.by_ids(self.conn, missing)
            self._known |= {event_id: self._of_the_past(loaded.get(event_id)) for event_id in missing}
            self._read_stretch(loaded.values(), more)
        return [event for event_id in wanted if (event := self._known[event_id]) is not None]

    def _of_the_past(self, event: Event | None) -> Event | None:
        if event is None or event.room != self.room.nid or event.status in _APART:
            return None
        if event.status is Status.REJECTED:
            self._passed_over += 1
            return event if self._passed_over <= MOST_PASSED_OVER else None
        return event

    def _told(self, events: Iterable[Event]) -> list[Event]:
        return [event for event in events if event.status in _TOLD]

    def _read_stretch(self, loaded: Iterable[Event], more: int) -> None:
        places = [event.place for event in loaded if event.room == self.room.nid and event.place is not None]
        if not places or more <= 0 or not self._stretches:
            return
        self._stretches -= 1
        stretch = self.events.in_room(
            self.conn, self.room.nid, until=max(places) - 1, limit=more + MARGIN, newest_first=True
        )
        self._known |= {event.event_id: event for event in stretch}
