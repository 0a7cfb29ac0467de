"""One state of a room out of those of several branches, found once for each set of them.

https://spec.matrix.org/v1.19/server-server-api/#room-state-resolution

States of the same room are nearly the same: only the slots in which they differ are looked at, and the events that
these stand on.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

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

        def standing_on(event_ids: Collection[EventID]) -> Iterable[EventID]:
            # An event is stored after its auth events, and numbers only rise.
            known = [graph.events[event_id].nid for event_id in event_ids if event_id in graph.events]
            oldest = min(known) if len(known) == len(event_ids) else FIRST
            later = [nid for slot, nid in newest.state.items() if nid > oldest and slot not in slots]
            return [event.event_id for event in self.events.by_nids(conn, later).values()]

        settled = settle(
            _Unconflicted(conn, self.names, self.events, newest.state, slots),
            [{pairs[slot]: events[nid].event_id for slot, nid in state} for state in nids],
            version, graph.fetch, rejected=graph.rejected, standing_on=standing_on,
        )  # fmt: skip
        winners = {graph.events[event_id].slot: graph.events[event_id].nid for event_id in settled.values()}
        changes: dict[SlotNid, EventNid | None] = {}
        for slot in slots | {slot for slot in winners if slot is not None}:
            if winners.get(slot) != newest.state.get(slot):
                changes[slot] = winners.get(slot)
        return changes


class _Graph:
    """Events with all that they stand on, read a level at a time."""

    def __init__(self, conn: Connection, store: Events, starts: Iterable[Event]) -> None:
        self._conn, self._store = conn, store
        self.events: dict[EventID, Event] = {}
        self.rejected: set[EventID] = set()
        self._missing: set[EventID] = set()
        self._take(starts)

    def fetch(self, event_id: EventID) -> Pdu | None:
        if event_id not in self.events and event_id not in self._missing:
            self._take(self._store.by_ids(self._conn, [event_id]).values())
            if event_id not in self.events:
                self._missing.add(event_id)
                return None
        found = self.events.get(event_id)
        return found.pdu if found is not None else None

    def _take(self, level: Iterable[Event]) -> None:
        while level := list(level):
            for event in level:
                self.events[event.event_id] = event
                if event.status is Status.REJECTED:
                    self.rejected.add(event.event_id)
            wanted = {event_id for event in level for event_id in event.pdu.auth_events}
            wanted -= self.events.keys() | self._missing
            found = self._store.by_ids(self._conn, wanted)
            self._missing.update(wanted - found.keys())
            level = found.values()


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
