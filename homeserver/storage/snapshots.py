"""The state of rooms at points of their history: a base and one cumulative delta against it.

A snapshot is read with two rows at most. When the delta outgrows about the square root of twice the base, the next
snapshot becomes a base; that makes the bytes written for each state event as few as this scheme allows. In memory a state
is a persistent map from slot to event that shares its structure with the states beside it.
"""

import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import cast

import sqlalchemy as sa
from rpds import HashTrieMap
from sqlalchemy import Connection

from homeserver.model.nids import EventNid, RoomNid, SlotNid, SnapshotNid
from homeserver.storage.database import Write, fresh
from homeserver.storage.schema.rooms import snapshots

State = HashTrieMap[SlotNid, EventNid]
EMPTY: State = HashTrieMap()
SMALLEST_DELTA = 8
"""A delta may always have so many entries, however small the base."""
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
    """Reads and writes snapshots; keeps the ones used last in memory. They never change once committed."""

    def __init__(self, most_entries: int = 2_000_000) -> None:
        """Keep about as many entries in memory as `most_entries`, an entry being a slot of a base or of a delta."""
        self._cache: OrderedDict[SnapshotNid, Snapshot] = OrderedDict()
        self._most_entries = most_entries
        self._entries = 0
        self._lock = threading.Lock()

    def state(self, conn: Connection, nid: SnapshotNid) -> State:
        """Return the state with this number."""
        return self.load(conn, nid).state

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
        if memory is None:
            self._remember(loaded)
        return loaded

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

    def _insert(
        self, tx: Write, room: RoomNid, base: SnapshotNid | None, entries: Mapping[SlotNid, EventNid]
    ) -> SnapshotNid:
        values = {"room": room, "base": base, "entries": pack(entries.items())}
        return SnapshotNid(tx.conn.execute(_INSERT, values).scalar_one())

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


def _weight(snapshot: Snapshot) -> int:
    # A delta's map shares nearly all with its base's.
    return 4 + (len(snapshot.delta) * 4 if snapshot.delta else snapshot.base_size)


def _applied(state: State, updates: Mapping[SlotNid, EventNid]) -> State:
    for slot, event in updates.items():
        if event == VACATED:
            state = state.discard(slot)
        else:
            state = state.insert(slot, event)
    return state


_SELECT = sa.select(snapshots.c.base, snapshots.c.entries).where(snapshots.c.nid == sa.bindparam("wanted"))
_INSERT = snapshots.insert().returning(snapshots.c.nid)
