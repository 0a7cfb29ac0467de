"""The state of rooms at points of their history: a base and one cumulative delta against it.

A snapshot is read with two rows at most. When the delta outgrows about the square root of twice the base, the next
snapshot becomes a base; that makes the bytes written for each state event as few as this scheme allows. In memory a
state is a persistent map from slot to event that shares its structure with the states beside it.
"""

import threading
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

import sqlalchemy as sa
from rpds import HashTrieMap
from sqlalchemy import Connection

from homeserver.model.nids import EventNid, RoomNid, SlotNid, SnapshotNid
from homeserver.storage.database import Hot, Write, among, fresh, numbers
from homeserver.storage.schema.rooms import snapshots

if TYPE_CHECKING:
    State: TypeAlias = HashTrieMap[SlotNid, EventNid]
else:
    State = HashTrieMap  # it takes no type arguments when it runs
EMPTY: State = HashTrieMap()
SMALLEST_DELTA = 8
"""A delta may always have so many entries, however small the base."""
MOST_IN_A_QUERY = 5000
MOST_LOOK_UPS = 50_000
"""Slots of states not in memory whose events are remembered; the same ones are looked at again and again."""
VACATED = EventNid(0)
"""Stands in a delta for a slot that the base fills and the snapshot does not."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state with its number, and how it is stored."""

    nid: SnapshotNid
    base: SnapshotNid
    base_size: int
    delta: Mapping[SlotNid, EventNid]
    state: State


def pack(entries: Iterable[tuple[SlotNid, EventNid]]) -> bytes:
    """Return slots and events as signed 64-bit numbers in pairs, ordered by slot."""
    flat = array("q")
    for slot, event in sorted(entries):
        flat.append(slot)
        flat.append(event)
    return flat.tobytes()


def unpack(packed: bytes) -> dict[SlotNid, EventNid]:
    """Return what `pack` packed."""
    flat = array("q")
    flat.frombytes(packed)
    return dict(zip(flat[::2], flat[1::2], strict=True))  # type: ignore[arg-type]  # NewTypes of int


class Snapshots:
    """Reads and writes snapshots; keeps the ones used last in memory.

    They never change. What the running group of writes has stored is found in its `Fresh`, so what is read from the
    database is committed and may be kept, also when a write reads it.
    """

    def __init__(self, most_entries: int = 2_000_000) -> None:
        """Keep about as many entries in memory as `most_entries`, an entry being a slot of a base or of a delta."""
        self._cache: OrderedDict[SnapshotNid, Snapshot] = OrderedDict()
        self._most_entries = most_entries
        self._entries = 0
        self._looked_up: dict[tuple[SnapshotNid, SlotNid], EventNid | None] = {}
        self._lock = threading.Lock()

    def state(self, conn: Connection, nid: SnapshotNid) -> State:
        """Return the state with this number."""
        return self.load(conn, nid).state

    def known_state(self, nid: SnapshotNid) -> State | None:
        """Return the state with this number if it is in memory."""
        cached = self._cache.get(nid)
        return cached.state if cached is not None else None

    def load(self, conn: Connection, nid: SnapshotNid) -> Snapshot:
        """Return the snapshot with this number, reading two rows at most."""
        with self._lock:
            cached = self._cache.get(nid)
            if cached is not None:
                self._cache.move_to_end(nid)
                return cached
        memory = fresh(conn)
        if memory is not None and (stored := memory.get("snapshot", nid)) is not None:
            return cast(Snapshot, stored)
        row = conn.execute(_SELECT, {"wanted": nid}).one()
        entries = unpack(row.entries)
        if row.base is None:
            loaded = Snapshot(nid, nid, len(entries), {}, HashTrieMap(entries))
        else:
            base = self.load(conn, row.base)
            loaded = Snapshot(nid, base.nid, base.base_size, entries, _applied(base.state, entries))
        self._remember(loaded)
        return loaded

    def load_many(self, conn: Connection, nids: Iterable[SnapshotNid]) -> dict[SnapshotNid, Snapshot]:
        """Return the snapshots with these numbers, in two queries at most (for each 5,000)."""
        found, missing = self._at_hand(conn, nids)
        rows = _rows(conn, missing)
        bases = {row.base for row in rows.values() if row.base is not None and row.base not in rows}
        known, missing_bases = self._at_hand(conn, bases)
        rows.update(_rows(conn, missing_bases))
        for nid, row in rows.items():
            if row.base is None:
                entries = unpack(row.entries)
                known[nid] = Snapshot(nid, nid, len(entries), {}, HashTrieMap(entries))
        for nid, row in rows.items():
            if row.base is not None:
                entries, base = unpack(row.entries), known[row.base]
                known[nid] = Snapshot(nid, base.nid, base.base_size, entries, _applied(base.state, entries))
        for nid in rows:
            self._remember(known[nid])
        found.update((nid, known[nid]) for nid in missing)
        return found

    def standing(
        self, conn: Connection, nids: Iterable[SnapshotNid], slots: Sequence[SlotNid]
    ) -> dict[SnapshotNid, tuple[EventNid | None, ...]]:
        """Return what stands in a few slots, in each of these states, in two queries at most (for each 5,000).

        States that are not in memory are not brought there whole: the slots are looked for in the rows.
        """
        found, missing = self._at_hand(conn, nids)
        answer = {nid: tuple(snapshot.state.get(slot) for slot in slots) for nid, snapshot in found.items()}
        memory = self._looked_up
        for nid in missing:
            with suppress(KeyError):
                answer[nid] = tuple(memory[nid, slot] for slot in slots)
        missing = [nid for nid in missing if nid not in answer]
        rows = _rows(conn, missing)
        bases = {row.base for row in rows.values() if row.base is not None and row.base not in rows}
        known, missing_bases = self._at_hand(conn, bases)
        rows.update(_rows(conn, missing_bases))
        below = {nid: [snapshot.state.get(slot) for slot in slots] for nid, snapshot in known.items()}
        below |= {nid: _look_up(row.entries, slots) for nid, row in rows.items() if row.base is None}
        for nid in missing:
            row = rows[nid]
            changes = _look_up(row.entries, slots) if row.base is not None else below[nid]
            answer[nid] = tuple(
                old if new is None else (new if new != VACATED else None)
                for old, new in zip(below[row.base or nid], changes, strict=True)
            )
        if fresh(conn) is None:
            self._remember_look_ups(missing, slots, answer)
        return answer

    def _remember_look_ups(
        self, nids: Iterable[SnapshotNid], slots: Sequence[SlotNid],
        answer: Mapping[SnapshotNid, tuple[EventNid | None, ...]],
    ) -> None:  # fmt: skip
        with self._lock:
            for nid in nids:
                self._looked_up.update(((nid, slot), found) for slot, found in zip(slots, answer[nid], strict=True))
            while len(self._looked_up) > MOST_LOOK_UPS:
                del self._looked_up[next(iter(self._looked_up))]

    def _at_hand(
        self, conn: Connection, nids: Iterable[SnapshotNid]
    ) -> tuple[dict[SnapshotNid, Snapshot], list[SnapshotNid]]:
        """Return those that are in memory, and the numbers of the others, each once."""
        memory = fresh(conn)
        found: dict[SnapshotNid, Snapshot] = {}
        missing: dict[SnapshotNid, None] = {}
        with self._lock:
            for nid in nids:
                snapshot = self._cache.get(nid)
                if snapshot is not None:
                    self._cache.move_to_end(nid)
                elif memory is not None:
                    snapshot = cast("Snapshot | None", memory.get("snapshot", nid))
                if snapshot is not None:
                    found[nid] = snapshot
                else:
                    missing[nid] = None
        return found, list(missing)

    def store(
        self, tx: Write, room: RoomNid, before: Snapshot | None, changes: Mapping[SlotNid, EventNid | None]
    ) -> Snapshot:
        """Store the state `before` with `changes` made to it (None vacates a slot); return the new snapshot."""
        updates = {slot: event if event is not None else VACATED for slot, event in changes.items()}
        state = _applied(before.state if before is not None else EMPTY, updates)
        if before is not None:
            delta = {**before.delta, **updates}
            if len(delta) <= max(SMALLEST_DELTA, isqrt(2 * before.base_size)):
                nid = self._insert(tx, room, before.base, delta)
                return self._announce(tx, Snapshot(nid, before.base, before.base_size, delta, state))
        nid = self._insert(tx, room, None, state)
        return self._announce(tx, Snapshot(nid, nid, len(state), {}, state))

    def store_state(
        self, tx: Write, room: RoomNid, near: Snapshot | None, state: Mapping[SlotNid, EventNid]
    ) -> Snapshot:
        """Store a whole state, as what is different from one that is likely to be like it; return the snapshot."""
        if near is None:
            return self.store(tx, room, None, state)
        changes: dict[SlotNid, EventNid | None] = {
            slot: nid for slot, nid in state.items() if near.state.get(slot) != nid
        }
        changes.update((slot, None) for slot in near.state if slot not in state)
        return self.store(tx, room, near, changes) if changes else near

    def _insert(
        self, tx: Write, room: RoomNid, base: SnapshotNid | None, entries: Mapping[SlotNid, EventNid]
    ) -> SnapshotNid:
        values = {"room": room, "base": base, "entries": pack(entries.items())}
        return SnapshotNid(_INSERT.run(tx.conn, values)[0][0])

    def _announce(self, tx: Write, snapshot: Snapshot) -> Snapshot:
        tx.fresh.put("snapshot", snapshot.nid, snapshot)
        tx.after_commit(self._remember, snapshot)
        return snapshot

    def _remember(self, snapshot: Snapshot) -> None:
        with self._lock:
            if snapshot.nid in self._cache:
                return
            self._cache[snapshot.nid] = snapshot
            self._entries += _weight(snapshot)
            while self._entries > self._most_entries:
                _, oldest = self._cache.popitem(last=False)
                self._entries -= _weight(oldest)


def differing(one: Snapshot, other: Snapshot) -> set[SlotNid]:
    """Return the slots in which two states are not the same; cheap where they were stored against the same base."""
    if one.nid == other.nid:
        return set()
    a, b = one.state, other.state
    slots = one.delta.keys() | other.delta.keys() if one.base == other.base else {*a, *b}
    return {slot for slot in slots if a.get(slot) != b.get(slot)}


class _Row(NamedTuple):
    nid: SnapshotNid
    base: SnapshotNid | None
    entries: bytes


def _rows(conn: Connection, nids: Sequence[SnapshotNid]) -> dict[SnapshotNid, _Row]:
    found: dict[SnapshotNid, _Row] = {}
    for start in range(0, len(nids), MOST_IN_A_QUERY):
        for row in _MANY.run(conn, {"wanted": numbers(conn, nids[start : start + MOST_IN_A_QUERY])}):
            found[row[0]] = _Row(*row)
    return found


def _look_up(packed: bytes, slots: Sequence[SlotNid]) -> list[EventNid | None]:
    flat = array("q")
    flat.frombytes(packed)
    keys = flat[::2]
    found: list[EventNid | None] = []
    for slot in slots:
        place = bisect_left(keys, slot)
        stands = place < len(keys) and keys[place] == slot
        found.append(EventNid(flat[2 * place + 1]) if stands else None)
    return found


def _weight(snapshot: Snapshot) -> int:
    # A delta's map shares nearly all with its base's.
    return 4 + (len(snapshot.delta) * 4 if snapshot.delta else snapshot.base_size)


def _applied(state: State, updates: Mapping[SlotNid, EventNid]) -> State:
    for slot, event in updates.items():
        state = state.discard(slot) if event == VACATED else state.insert(slot, event)
    return state


_SELECT = sa.select(snapshots.c.base, snapshots.c.entries).where(snapshots.c.nid == sa.bindparam("wanted"))
_MANY = Hot(sa.select(snapshots.c.nid, snapshots.c.base, snapshots.c.entries).where(among(snapshots.c.nid, "wanted")))
_INSERT = Hot(
    snapshots.insert()
    .values(room=sa.bindparam("room"), base=sa.bindparam("base"), entries=sa.bindparam("entries"))
    .returning(snapshots.c.nid)
)
