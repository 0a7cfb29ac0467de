"""Interned names: users, rooms, event types and state slots, from strings to integers and back.

A pair of name and number never changes once it is committed, so it may be kept in memory for ever; the memory is
bounded by forgetting the oldest. Numbers given out inside a write are remembered only after its commit.
"""

import threading
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Table

from federation.core.ids import RoomID, UserID
from homeserver.model.bounded import forget_oldest
from homeserver.model.nids import RoomNid, SlotNid, TypeNid, UserNid
from homeserver.storage.database import Given, Write, fresh, one_of, upsert
from homeserver.storage.schema.accounts import users
from homeserver.storage.schema.rooms import event_types, rooms, state_slots

K = TypeVar("K", bound=Hashable)
N = TypeVar("N", bound=int)

MOST = 200_000
"""Names kept in memory, of all kinds together, unless told otherwise."""


class Memory(Generic[K, N]):
    """Pairs of name and number, both ways, oldest forgotten first."""

    __slots__ = ("_gone", "_lock", "_most", "by_name", "by_number")

    def __init__(self, most: int) -> None:
        """Start empty; remember at most so many."""
        self._most = most
        self.by_name: dict[K, N] = {}
        self.by_number: dict[N, K] = {}
        self._gone: set[N] = set()
        self._lock = threading.Lock()

    def learn(self, name: K, number: N) -> None:
        """Remember a committed pair."""
        with self._lock:
            if number in self._gone:
                return
            self.by_name[name] = number
            self.by_number[number] = name
            for _, old in forget_oldest(self.by_name, self._most):
                self.by_number.pop(old, None)

    def forget(self, name: K) -> None:
        """Forget a pair whose deletion has been committed."""
        with self._lock:
            number = self.by_name.pop(name, None)
            if number is not None:
                self.by_number.pop(number, None)
                # A reader of an earlier moment may find it still. Numbers are not given again.
                self._gone.add(number)


def _is_committed(conn: Connection, table: Table, number: int) -> bool:
    # What a write connection reads may be its own group's, not committed yet.
    memory = fresh(conn)
    return memory is None or memory.get(table.name, number) is None


class Names:
    """All interned names of the server."""

    def __init__(self, most: int = MOST) -> None:
        """Start with nothing in memory; keep about `most` names in it, half of them slots: each member has one."""
        self._users: Memory[UserID, UserNid] = Memory(most // 4)
        self._rooms: Memory[RoomID, RoomNid] = Memory(most // 8)
        self._types: Memory[str, TypeNid] = Memory(most // 8)
        self._slots: Memory[tuple[str, str], SlotNid] = Memory(most // 2)

    # Users

    def user(self, conn: Connection, user_id: UserID) -> UserNid | None:
        """Return the number of a user, or None for one never seen."""
        return self._find(conn, self._users, users, users.c.user_id, user_id)

    def intern_user(self, tx: Write, user_id: UserID) -> UserNid:
        """Return the number of a user, giving one if need be."""
        return self._intern(tx, self._users, users, users.c.user_id, user_id)

    def intern_users(self, tx: Write, user_ids: Iterable[UserID]) -> Mapping[UserID, UserNid]:
        """Return the numbers of many users, giving those that need one theirs in a few statements."""
        wanted = list(dict.fromkeys(user_ids))
        found = dict(self._numbers(tx.conn, self._users, users, users.c.user_id, wanted))
        new = [user_id for user_id in wanted if user_id not in found]
        if new:
            insert = upsert(tx.conn, users).on_conflict_do_nothing()
            tx.conn.execute(insert, [{"user_id": user_id} for user_id in new])
            for part in _parts(new):
                query = sa.select(users.c.user_id, users.c.nid).where(one_of(users.c.user_id, part))
                for user_id, nid in tx.conn.execute(query):
                    found[user_id] = nid
                    self._given(tx, self._users, users, user_id, nid)
        return found

    def user_id(self, conn: Connection, nid: UserNid) -> UserID:
        """Return the user with a number that the store gave out."""
        return self.user_ids(conn, [nid])[nid]

    def user_ids(self, conn: Connection, nids: Iterable[UserNid]) -> Mapping[UserNid, UserID]:
        """Return the users with these numbers, in one query at most."""
        return self._names(conn, self._users, users, users.c.user_id, nids)

    def user_nids(self, conn: Connection, user_ids: Iterable[UserID]) -> Mapping[UserID, UserNid]:
        """Return the numbers of those of `user_ids` that are known, in one query at most."""
        return self._numbers(conn, self._users, users, users.c.user_id, user_ids)

    def known_user_id(self, nid: UserNid) -> UserID | None:
        """Return the user with a number if that is in memory."""
        return self._users.by_number.get(nid)

    # Rooms

    def room(self, conn: Connection, room_id: RoomID) -> RoomNid | None:
        """Return the number of a room, or None for one that is not here."""
        return self._find(conn, self._rooms, rooms, rooms.c.room_id, room_id)

    def room_id(self, conn: Connection, nid: RoomNid) -> RoomID:
        """Return the room with a number that the store gave out."""
        return self.room_ids(conn, [nid])[nid]

    def room_ids(self, conn: Connection, nids: Iterable[RoomNid]) -> Mapping[RoomNid, RoomID]:
        """Return the rooms with these numbers, in one query at most."""
        return self._names(conn, self._rooms, rooms, rooms.c.room_id, nids)

    def room_nids(self, conn: Connection, room_ids: Iterable[RoomID]) -> Mapping[RoomID, RoomNid]:
        """Return the numbers of those of `room_ids` that are here, in one query at most."""
        return self._numbers(conn, self._rooms, rooms, rooms.c.room_id, room_ids)

    def known_room_id(self, nid: RoomNid) -> RoomID | None:
        """Return the room with a number if that is in memory."""
        return self._rooms.by_number.get(nid)

    def made_room(self, tx: Write, room_id: RoomID, nid: RoomNid) -> None:
        """Remember a room that is being made, once that is committed."""
        self._given(tx, self._rooms, rooms, room_id, nid)

    def forget_room(self, room_id: RoomID) -> None:
        """Forget a room whose deletion has been committed."""
        self._rooms.forget(room_id)

    # Event types; relation types share the table.

    def type(self, conn: Connection, event_type: str) -> TypeNid | None:
        """Return the number of an event type, or None for one never seen."""
        return self._find(conn, self._types, event_types, event_types.c.type, event_type)

    def intern_type(self, tx: Write, event_type: str) -> TypeNid:
        """Return the number of an event type, giving one if need be."""
        return self._intern(tx, self._types, event_types, event_types.c.type, event_type)

    def types(self, conn: Connection, nids: Iterable[TypeNid]) -> Mapping[TypeNid, str]:
        """Return the event types with these numbers, in one query at most."""
        return self._names(conn, self._types, event_types, event_types.c.type, nids)

    # Slots: event type and state key

    def slot(self, conn: Connection, event_type: str, state_key: str) -> SlotNid | None:
        """Return the number of a slot, or None if no event ever stood in it."""
        return self.slots(conn, [(event_type, state_key)]).get((event_type, state_key))

    def known_slot(self, event_type: str, state_key: str) -> SlotNid | None:
        """Return the number of a slot if that is in memory."""
        return self._slots.by_name.get((event_type, state_key))

    def slots(self, conn: Connection, pairs: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], SlotNid]:
        """Return the numbers of those slots that are known, in one query at most."""
        found: dict[tuple[str, str], SlotNid] = {}
        missing: list[tuple[str, str]] = []
        for pair in pairs:
            if (known := self._slots.by_name.get(pair)) is not None:
                found[pair] = known
            else:
                missing.append(pair)
        if missing:
            for part in _parts(missing):
                self._take_slots(conn, _slots_of(conn, part), found)
        return found

    def intern_slot(self, tx: Write, event_type: str, state_key: str) -> SlotNid:
        """Return the number of a slot, giving one if need be."""
        pair = (event_type, state_key)
        known = self.slot(tx.conn, event_type, state_key)
        if known is None:
            type_nid = self.intern_type(tx, event_type)
            insert = state_slots.insert().values(type=type_nid, state_key=state_key).returning(state_slots.c.nid)
            known = SlotNid(tx.conn.execute(insert).scalar_one())
            self._given(tx, self._slots, state_slots, pair, known)
        return known

    def intern_slots(self, tx: Write, pairs: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], SlotNid]:
        """Return the numbers of many slots, giving those that need one theirs in a few statements."""
        wanted = list(dict.fromkeys(pairs))
        found = dict(self.slots(tx.conn, wanted))
        new = [pair for pair in wanted if pair not in found]
        if new:
            kinds = {kind: self.intern_type(tx, kind) for kind in {kind for kind, _ in new}}
            tx.conn.execute(state_slots.insert(), [{"type": kinds[kind], "state_key": key} for kind, key in new])
            for part in _parts(new):
                given: dict[tuple[str, str], SlotNid] = {}
                for number, kind, key in _slots_of(tx.conn, part):
                    given[kind, key] = SlotNid(number)
                    self._given(tx, self._slots, state_slots, (kind, key), SlotNid(number))
                found |= given
        return found

    def slot_pairs(self, conn: Connection, nids: Iterable[SlotNid]) -> Mapping[SlotNid, tuple[str, str]]:
        """Return event type and state key of each slot, in one query at most."""
        known = self._slots.by_number
        wanted = list(nids)
        found = {nid: pair for nid in wanted if (pair := known.get(nid)) is not None}
        if len(found) < len(wanted):
            missing = [nid for nid in wanted if nid not in found]
            by_name: dict[tuple[str, str], SlotNid] = {}
            for part in _parts(missing):
                self._take_slots(conn, conn.execute(_SLOTS.where(one_of(state_slots.c.nid, part))), by_name)
            found.update({nid: pair for pair, nid in by_name.items()})
        return found

    def _take_slots(
        self, conn: Connection, rows: Iterable[Sequence[Any]], into: dict[tuple[str, str], SlotNid]
    ) -> None:
        for number, event_type, state_key in rows:
            pair, nid = (event_type, state_key), SlotNid(number)
            into[pair] = nid
            if _is_committed(conn, state_slots, nid):
                self._slots.learn(pair, nid)

    # The common ways

    def _find(self, conn: Connection, memory: Memory[K, N], table: Table, column: Column[Any], name: K) -> N | None:
        known = memory.by_name.get(name)
        if known is None:
            found = conn.execute(sa.select(table.c.nid).where(column == name)).scalar_one_or_none()
            known = cast("N | None", found)
            if known is not None and _is_committed(conn, table, known):
                memory.learn(name, known)
        return known

    def _intern(self, tx: Write, memory: Memory[K, N], table: Table, column: Column[Any], name: K) -> N:
        known = self._find(tx.conn, memory, table, column, name)
        if known is None:
            insert = upsert(tx.conn, table).values({column.name: name}).on_conflict_do_nothing()
            tx.conn.execute(insert)
            known = cast(N, tx.conn.execute(sa.select(table.c.nid).where(column == name)).scalar_one())
            self._given(tx, memory, table, name, known)
        return known

    def _given(self, tx: Write, memory: Memory[K, N], table: Table, name: K, number: N) -> None:
        tx.fresh.put(table.name, number, name)
        tx.after_commit(memory.learn, name, number)

    def _names(
        self, conn: Connection, memory: Memory[K, N], table: Table, column: Column[Any], nids: Iterable[N]
    ) -> Mapping[N, K]:
        known = memory.by_number
        wanted = list(nids)
        found = {nid: name for nid in wanted if (name := known.get(nid)) is not None}
        for part in _parts([nid for nid in wanted if nid not in found]):
            for nid, name in conn.execute(sa.select(table.c.nid, column).where(one_of(table.c.nid, part))):
                found[nid] = name
                if _is_committed(conn, table, nid):
                    memory.learn(name, nid)
        return found

    def _numbers(
        self, conn: Connection, memory: Memory[K, N], table: Table, column: Column[Any], names: Iterable[K]
    ) -> Mapping[K, N]:
        known = memory.by_name
        wanted = list(names)
        found = {name: nid for name in wanted if (nid := known.get(name)) is not None}
        for part in _parts([name for name in wanted if name not in found]):
            for nid, name in conn.execute(sa.select(table.c.nid, column).where(one_of(column, part))):
                found[name] = nid
                if _is_committed(conn, table, nid):
                    memory.learn(name, nid)
        return found


def _parts(items: Sequence[Any], size: int = 5000) -> Iterable[Sequence[Any]]:
    """Cut a long list into lists that fit the databases' limits of parameters."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


_SLOTS = sa.select(state_slots.c.nid, event_types.c.type, state_slots.c.state_key).join(
    event_types, event_types.c.nid == state_slots.c.type
)


def _slots_of(conn: Connection, pairs: Sequence[tuple[str, str]]) -> Iterable[Sequence[Any]]:
    """Return number, event type and state key of those pairs of type and key that are known."""
    return _SLOTS_OF.run(conn, _PAIRS.values(conn, pairs))


_PAIRS = Given(kind=str, state_key=str)
_SLOTS_OF = _PAIRS.hot(
    lambda pair: (
        sa.select(state_slots.c.nid, pair.c.kind, pair.c.state_key)
        .join(event_types, event_types.c.type == pair.c.kind)
        .join(state_slots, (state_slots.c.type == event_types.c.nid) & (state_slots.c.state_key == pair.c.state_key))
    )
)
