"""One state of a room out of those of several branches, found once for each set of them.

https://spec.matrix.org/v1.19/server-server-api/#room-state-resolution

States of the same room are nearly the same: only the slots in which they differ are looked at, and the events that
these stand on.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from sqlalchemy import Connection

from federation.core.auth.selection import Slot
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID
from federation.core.room_versions import RoomVersion
from federation.core.state.resolve import settle
from homeserver.model.events import Event, Status
from homeserver.model.nids import EventNid, RoomNid, SlotNid, SnapshotNid
from homeserver.storage.database import Write
from homeserver.storage.events import FIRST, Events
from homeserver.storage.names import Names
from homeserver.storage.snapshots import Snapshot, Snapshots, State, differing

MOST_REMEMBERED = 2_000
"""Sets of states whose resolution is remembered."""

Changes = Mapping[SlotNid, EventNid | None]
"""What a resolution changes in the newest of the states that it was made of; None vacates a slot."""


class _Memory:
    """Resolutions by the numbers of the states that they were made of: their own number, or not stored yet."""

    def __init__(self) -> None:
        self._known: OrderedDict[frozenset[SnapshotNid], SnapshotNid | Changes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: frozenset[SnapshotNid]) -> SnapshotNid | Changes | None:
        with self._lock:
            return self._known.get(key)

    def put(self, key: frozenset[SnapshotNid], found: SnapshotNid | Changes) -> None:
        with self._lock:
            self._known[key] = found
            self._known.move_to_end(key)
            if len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Resolution:
    """Resolves states of rooms."""

    names: Names
    events: Events
    snapshots: Snapshots
    _memory: _Memory = field(default_factory=_Memory)

    def of(self, tx: Write, room: RoomNid, version: RoomVersion, states: Iterable[Snapshot]) -> Snapshot:
        """Return the resolution of some states of a room, which are stored; it is stored, too."""
        by_nid = {state.nid: state for state in states}
        if len(by_nid) == 1:
            return next(iter(by_nid.values()))
        key = frozenset(by_nid)
        known = tx.fresh.get("resolution", key) or self._memory.get(key)
        if isinstance(known, int):
            return self.snapshots.load(tx.conn, SnapshotNid(known))
        newest = by_nid[max(by_nid)]
        changes = known if known is not None else self._changes(tx.conn, version, list(by_nid.values()), newest)
        found = self.snapshots.store(tx, room, newest, changes) if changes else newest
        tx.fresh.put("resolution", key, found.nid)
        tx.after_commit(self._memory.put, key, found.nid)
        return found

    def prepare(self, conn: Connection, version: RoomVersion, states: Iterable[SnapshotNid]) -> None:
        """Work out a resolution that a write is going to ask for, so that the write has it in memory."""
        key = frozenset(states)
        if len(key) < 2 or self._memory.get(key) is not None:
            return
        loaded = self.snapshots.load_many(conn, key)
        self._memory.put(key, self._changes(conn, version, list(loaded.values()), loaded[max(key)]))

    def _changes(self, conn: Connection, version: RoomVersion, states: Sequence[Snapshot], newest: Snapshot) -> Changes:
        slots = set().union(*(differing(newest, state) for state in states))
        if not slots:
            return {}
        nids = [[(slot, nid) for slot in slots if (nid := state.state.get(slot)) is not None] for state in states]
        events = self.events.by_nids(conn, {nid for pairs in nids for _, nid in pairs})
        pairs = self.names.slot_pairs(conn, slots)
        graph = _Graph(conn, self.events, events.values())
        floor = graph.floor([[events[nid] for _, nid in state] for state in nids])

        def auth_events_of(event_id: EventID) -> Sequence[EventID]:
            pdu = graph.fetch(event_id)
            return pdu.auth_events if pdu is not None and graph.events[event_id].nid >= floor else ()

        def standing_on(event_ids: Collection[EventID]) -> Iterable[EventID]:
            known = [graph.events[event_id].nid for event_id in event_ids if event_id in graph.events]
            oldest = min(known) if len(known) == len(event_ids) else FIRST
            later = [nid for slot, nid in newest.state.items() if nid > oldest and slot not in slots]
            return [event.event_id for event in self.events.by_nids(conn, later).values()]

        settled = settle(
            _Unconflicted(conn, self.names, self.events, newest.state, slots),
            [{pairs[slot]: events[nid].event_id for slot, nid in state} for state in nids],
            version, graph.fetch, auth_events_of=auth_events_of, rejected=graph.rejected, standing_on=standing_on,
        )  # fmt: skip
        winners = {graph.events[event_id].slot: graph.events[event_id].nid for event_id in settled.values()}
        changes: dict[SlotNid, EventNid | None] = {}
        for slot in slots | {slot for slot in winners if slot is not None}:
            if winners.get(slot) != newest.state.get(slot):
                changes[slot] = winners.get(slot)
        return changes


class _Graph:
    """Events and what they stand on.

    An event is stored after its auth events, and numbers only rise: so their order is one of the graph.
    """

    def __init__(self, conn: Connection, store: Events, starts: Iterable[Event]) -> None:
        self._conn, self._store = conn, store
        self.events: dict[EventID, Event] = {}
        self.rejected: set[EventID] = set()
        """Those of the events loaded so far that were rejected."""
        self._missing: set[EventID] = set()
        self._keep(starts)

    def fetch(self, event_id: EventID) -> Pdu | None:
        found = self._load([event_id])
        return found[0].pdu if found else None

    def floor(self, states: Sequence[Iterable[Event]]) -> EventNid:
        """Return the number below which every event is in the auth chains of all of these states, or of none.

        So auth chains need not be walked to their ends, which may be years ago: where they have become one, they stay
        one. Nothing below the floor is between two of the events, either.
        """
        everyone = (1 << len(states)) - 1
        within: dict[EventNid, int] = {}
        waiting: dict[EventNid, Event] = {}
        for number, state in enumerate(states):
            for event in state:
                within[event.nid] = within.get(event.nid, 0) | 1 << number
                waiting[event.nid] = event
        lowest = min(waiting)
        newest_first = [-nid for nid in waiting]
        heapify(newest_first)
        apart = sum(mask != everyone for mask in within.values())
        """Events among those that wait that are not in all chains."""
        while apart:
            nid = EventNid(-heappop(newest_first))
            mask = within[nid]
            # Also one that is in all chains counts: that others are, too, may be for it.
            lowest = min(lowest, nid)
            apart -= mask != everyone
            for cited in self._load(waiting.pop(nid).pdu.auth_events):
                known = within.get(cited.nid)
                within[cited.nid] = mask | (known or 0)
                if known is None:
                    waiting[cited.nid] = cited
                    heappush(newest_first, -cited.nid)
                    apart += mask != everyone
                elif known != everyone and within[cited.nid] == everyone:
                    apart -= 1
        return lowest

    def _load(self, event_ids: Sequence[EventID]) -> list[Event]:
        lacking = [each for each in event_ids if each not in self.events and each not in self._missing]
        if lacking:
            found = self._store.by_ids(self._conn, lacking)
            self._keep(found.values())
            self._missing.update(each for each in lacking if each not in found)
        return [self.events[each] for each in event_ids if each in self.events]

    def _keep(self, events: Iterable[Event]) -> None:
        for event in events:
            self.events[event.event_id] = event
            if event.status is Status.REJECTED:
                self.rejected.add(event.event_id)


class _Unconflicted(Mapping[Slot, EventID]):
    """What is the same in all states, read where it is looked at."""

    def __init__(self, conn: Connection, names: Names, events: Events, state: State, conflicted: set[SlotNid]) -> None:
        self._conn, self._names, self._events = conn, names, events
        self._state, self._conflicted = state, conflicted
        self._all: dict[Slot, EventID] | None = None

    def __getitem__(self, pair: Slot) -> EventID:
        slot = self._names.slot(self._conn, *pair)
        nid = self._state.get(slot) if slot is not None and slot not in self._conflicted else None
        if nid is None:
            raise KeyError(pair)
        return self._events.by_nid(self._conn, nid).event_id

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())

    def _whole(self) -> dict[Slot, EventID]:
        if self._all is None:
            kept = {slot: nid for slot, nid in self._state.items() if slot not in self._conflicted}
            pairs = self._names.slot_pairs(self._conn, kept)
            events = self._events.by_nids(self._conn, kept.values())
            self._all = {pairs[slot]: events[nid].event_id for slot, nid in kept.items()}
        return self._all
