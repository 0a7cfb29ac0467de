"""Events: stored once, read in batches, the ones used last kept in memory."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from federation.core.canonical_json import encode_lenient
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID
from federation.core.room_versions import ROOM_VERSIONS
from homeserver.model.events import Event, Status
from homeserver.model.nids import EventNid, RoomNid, SlotNid, SnapshotNid, TypeNid, UserNid
from homeserver.storage.database import Hot, Write, among, fresh, moment, next_moment, numbers
from homeserver.storage.names import Names
from homeserver.storage.schema.accounts import users
from homeserver.storage.schema.rooms import event_types, events, rooms, state_slots

MOST_IN_A_QUERY = 5000
FIRST, LAST = -(2**62), 2**62
"""Stand for a place before, or after, that of any event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where an event stands in its room, as far as that is known."""

    status: Status
    place: int | None = None
    slot: SlotNid | None = None
    snapshot: SnapshotNid | None = None
    room_snapshot: SnapshotNid | None = None
    replaces: EventNid | None = None
    stood: EventNid | None = None


class Events:
    """The store of events, with a cache bounded in bytes.

    An event changes in two ways only: it is redacted, and it gets its place in the room's history after it was stored
    without one. A reader that began before the change's commit must not put the old event back into the cache after it;
    `_forgot_at` tells such readers.
    """

    def __init__(self, names: Names, most_bytes: int = 64 * 1024 * 1024) -> None:
        """Take the interned names and the bytes that the cache may hold."""
        self._names = names
        self._cache: OrderedDict[EventNid, Event] = OrderedDict()
        self._ids: dict[EventID, EventNid] = {}
        self._most_bytes = most_bytes
        self._bytes = 0
        self._forgot_at = 0
        self._lock = threading.Lock()

    def by_nids(self, conn: Connection, nids: Iterable[EventNid]) -> dict[EventNid, Event]:
        """Return the events with these numbers, in one query at most (for each 5,000). Missing ones are left out."""
        found: dict[EventNid, Event] = {}
        missing: list[EventNid] = []
        memory = fresh(conn)
        for nid in nids:
            event = memory.get("event", nid) if memory is not None else None
            event = event or self._cached(nid)
            if event is not None:
                found[nid] = event
            else:
                missing.append(nid)
        for start in range(0, len(missing), MOST_IN_A_QUERY):
            part = missing[start : start + MOST_IN_A_QUERY]
            for event in self._query(conn, _BY_NIDS, numbers(conn, part)):
                found[event.nid] = event
        return found

    def known(self, nid: EventNid) -> Event | None:
        """Return an event if it is in memory."""
        return self._cached(nid)

    def known_by_id(self, event_id: EventID) -> Event | None:
        """Return an event by its ID if it is in memory."""
        nid = self._ids.get(event_id)
        return self._cached(nid) if nid is not None else None

    def by_nid(self, conn: Connection, nid: EventNid) -> Event:
        """Return the event with a number that the store gave out."""
        return self.by_nids(conn, [nid])[nid]

    def by_ids(self, conn: Connection, event_ids: Iterable[EventID]) -> dict[EventID, Event]:
        """Return those of the events that are stored, in one query at most (for each 5,000)."""
        found: dict[EventID, Event] = {}
        missing: list[EventID] = []
        memory = fresh(conn)
        for event_id in event_ids:
            nid = self._ids.get(event_id)
            event = None
            if nid is None and memory is not None:
                nid = memory.get("event_id", event_id)
            if nid is not None:
                event = memory.get("event", nid) if memory is not None else None
                event = event or self._cached(nid)
            if event is not None:
                found[event_id] = event
            elif "\0" not in event_id:
                # Contents name events by any text, and PostgreSQL's texts hold no NUL.
                missing.append(event_id)
        for start in range(0, len(missing), MOST_IN_A_QUERY):
            part = missing[start : start + MOST_IN_A_QUERY]
            for event in self._query(conn, _BY_IDS, part):
                found[event.event_id] = event
        return found

    def by_id(self, conn: Connection, event_id: EventID) -> Event | None:
        """Return an event, or None if it is not stored."""
        return self.by_ids(conn, [event_id]).get(event_id)

    def in_room(
        self,
        conn: Connection,
        room: RoomNid,
        *,
        after: int | None = None,
        until: int | None = None,
        limit: int,
        newest_first: bool = False,
    ) -> list[Event]:
        """Return accepted events of a room with `after` < place <= `until`, at most `limit`, in the order asked for."""
        bounds = {
            "in_room": room,
            "after": FIRST if after is None else after,
            "until": LAST if until is None else until,
            "most": limit,
        }
        query = _NEWEST_IN_ROOM if newest_first else _OLDEST_IN_ROOM
        nids = [EventNid(nid) for nid in conn.execute(query, bounds).scalars()]
        loaded = self.by_nids(conn, nids)
        return [loaded[nid] for nid in nids]

    def known_ids(self, conn: Connection, event_ids: Iterable[EventID]) -> set[EventID]:
        """Return those of the events that are stored, whatever they were judged to be."""
        wanted = set(event_ids)
        # One that is forgotten at this moment is looked for again.
        cached = ((event_id, self.known_by_id(event_id)) for event_id in wanted & self._ids.keys())
        found = {event_id for event_id, event in cached if event is not None and event.status is not Status.UNJUDGED}
        missing = [event_id for event_id in wanted - found if "\0" not in event_id]
        for start in range(0, len(missing), MOST_IN_A_QUERY):
            part = missing[start : start + MOST_IN_A_QUERY]
            found.update(conn.execute(_KNOWN_IDS, {"wanted": part}).scalars())
        return found

    def expect(self, tx: Write, pdu: Pdu, *, nid: EventNid, room: RoomNid, standing: Standing) -> None:
        """Let the running write find an event that it is about to store, and of whose standing not all is known yet."""
        event = _new(pdu, nid, room, self._names.intern_user(tx, pdu.sender), standing)
        tx.fresh.put("event", nid, event)
        tx.fresh.put("event_id", event.event_id, nid)

    def insert(self, tx: Write, pdu: Pdu, *, nid: EventNid, room: RoomNid, standing: Standing) -> Event:
        """Store a new event; return it as stored. It is cached once committed."""
        sender = self._names.intern_user(tx, pdu.sender)
        event = _new(pdu, nid, room, sender, standing)
        _INSERT.run(tx.conn, _values(event, self._names.intern_type(tx, pdu.type)))
        self._announce(tx, event)
        return event

    def insert_many(self, tx: Write, room: RoomNid, standings: Iterable[tuple[Pdu, Standing]]) -> dict[EventID, Event]:
        """Store new events, a few statements for all together; return them as stored."""
        pairs = list(standings)
        if not pairs:
            return {}
        senders = self._names.intern_users(tx, [pdu.sender for pdu, _ in pairs])
        kinds = {kind: self._names.intern_type(tx, kind) for kind in {pdu.type for pdu, _ in pairs}}
        new = [_new(pdu, EventNid(tx.position()), room, senders[pdu.sender], standing) for pdu, standing in pairs]
        tx.conn.execute(events.insert(), [_values(event, kinds[event.type]) for event in new])
        for event in new:
            tx.fresh.put("event", event.nid, event)
            tx.fresh.put("event_id", event.event_id, event.nid)
        tx.after_commit(self._remember_all, new)
        return {event.event_id: event for event in new}

    def replace_standing(self, tx: Write, event: Event, standing: Standing) -> Event:
        """Give a stored event another standing; return it."""
        values = {
            "status": int(standing.status), "place": standing.place, "slot": standing.slot,
            "snapshot": standing.snapshot, "room_snapshot": standing.room_snapshot, "replaces": standing.replaces,
            "stood": standing.stood,
        }  # fmt: skip
        tx.conn.execute(events.update().where(events.c.nid == event.nid).values(values))
        new = event.standing(
            status=standing.status, place=standing.place, slot=standing.slot, snapshot=standing.snapshot,
            room_snapshot=standing.room_snapshot, replaces=standing.replaces, stood=standing.stood,
        )  # fmt: skip
        tx.fresh.put("event", event.nid, new)
        tx.after_commit(self._forget, event.nid)
        return new

    def replace(self, tx: Write, event: Event, pdu: Pdu, standing: Standing) -> Event:
        """Put an event in the place of one that bears its ID in its room, which nobody has judged yet; return it.

        It is the same event, unless its sender has chosen the ID, or it was stored as one of another room version.
        """
        new = _new(pdu, event.nid, event.room, self._names.intern_user(tx, pdu.sender), standing)
        values = _values(new, self._names.intern_type(tx, pdu.type))
        tx.conn.execute(events.update().where(events.c.nid == event.nid).values(values))
        tx.fresh.put("event", event.nid, new)
        tx.after_commit(self._forget, event.nid)
        return new

    def _announce(self, tx: Write, event: Event) -> None:
        tx.fresh.put("event", event.nid, event)
        tx.fresh.put("event_id", event.event_id, event.nid)
        tx.after_commit(self._remember, event)

    def replace_redacted(self, tx: Write, event: Event, redacted: Mapping[str, Any], by: EventNid) -> Event:
        """Put the redacted form of an event in its place; return it."""
        content_json = _compact(encode_lenient(redacted["content"]))
        envelope = _compact(encode_lenient({key: value for key, value in redacted.items() if key != "content"}))
        values = {"content": content_json, "envelope": envelope, "redacted_by": by}
        tx.conn.execute(events.update().where(events.c.nid == event.nid).values(values))
        new = event.redacted(content_json, envelope, by)
        tx.fresh.put("event", event.nid, new)
        tx.after_commit(self._forget, event.nid)
        return new

    def latest_at(self, conn: Connection, room: RoomNid, position: int) -> EventNid | None:
        """Return the newest event of a room's timeline at or before a position."""
        query = (
            sa.select(events.c.nid)
            .where(events.c.room == room, events.c.place <= position, events.c.snapshot.is_not(None))
            .order_by(events.c.place.desc())
            .limit(1)
        )
        found = conn.execute(query).scalar_one_or_none()
        return EventNid(found) if found is not None else None

    def lowest_place(self, conn: Connection, room: RoomNid) -> int:
        """Return the place of the oldest event of a room's timeline; 0 if it has none."""
        query = sa.select(events.c.place).where(events.c.room == room, events.c.place.is_not(None))
        return conn.execute(query.order_by(events.c.place).limit(1)).scalar_one_or_none() or 0

    def first_depth(self, conn: Connection, room: RoomNid) -> int:
        """Return the depth of the first event of a room that came while somebody here was in it; 0 if none has."""
        query = sa.select(events.c.depth).where(events.c.room == room, events.c.place > 0)
        return conn.execute(query.order_by(events.c.place).limit(1)).scalar_one_or_none() or 0

    # The cache

    def _cached(self, nid: EventNid) -> Event | None:
        with self._lock:
            event = self._cache.get(nid)
            if event is not None:
                self._cache.move_to_end(nid)
            return event

    def forget_room(self, room: RoomNid) -> None:
        """Forget the events of a room that is deleted, or read in another way, once that has been committed."""
        with self._lock:
            self._forgot_at = next_moment()
            for event in [event for event in self._cache.values() if event.room == room]:
                self._drop(event.nid)

    def _remember(self, event: Event, began: int | None = None) -> None:
        """Keep an event; `began` is the moment of the transaction that has read it, None for the one that stored it."""
        with self._lock:
            if event.nid in self._cache or (began is not None and began < self._forgot_at):
                return
            self._cache[event.nid] = event
            self._ids[event.event_id] = event.nid
            self._bytes += event.size
            while self._bytes > self._most_bytes:
                _, oldest = self._cache.popitem(last=False)
                self._ids.pop(oldest.event_id, None)
                self._bytes -= oldest.size

    def _remember_all(self, stored: Iterable[Event]) -> None:
        for event in stored:
            self._remember(event)

    def _forget(self, nid: EventNid) -> None:
        with self._lock:
            self._forgot_at = next_moment()
            self._drop(nid)

    def _drop(self, nid: EventNid) -> None:
        event = self._cache.pop(nid, None)
        if event is not None:
            self._ids.pop(event.event_id, None)
            self._bytes -= event.size

    def _query(self, conn: Connection, query: sa.Select[Any], wanted: object) -> list[Event]:
        began, memory = moment(conn), fresh(conn)
        loaded = [_event(row) for row in conn.execute(query, {"wanted": wanted})]
        for event in loaded:
            # What the running group has stored may never be committed.
            if memory is None or memory.get("event", event.nid) is None:
                self._remember(event, began)
        return loaded


def _compact(encoded: bytes) -> bytes:
    # What orjson returns keeps the four kilobytes that it was written into.
    return bytes(memoryview(encoded))


def _new(pdu: Pdu, nid: EventNid, room: RoomNid, sender: UserNid, standing: Standing) -> Event:
    return Event(
        nid=nid,
        place=standing.place,
        room=room,
        room_id=pdu.room_id,
        version=pdu.version,
        event_id=pdu.event_id,
        type=pdu.type,
        state_key=pdu.state_key,
        slot=standing.slot,
        sender=pdu.sender,
        sender_nid=sender,
        sent_at=pdu.origin_server_ts,
        depth=pdu.depth,
        content_json=_compact(encode_lenient(pdu.content)),
        envelope=_compact(encode_lenient({key: value for key, value in pdu.fields.items() if key != "content"})),
        snapshot=standing.snapshot,
        room_snapshot=standing.room_snapshot,
        replaces=standing.replaces,
        stood=standing.stood,
        redacted_by=None,
        status=standing.status,
        content=pdu.content,
    )


def _values(event: Event, kind: TypeNid) -> dict[str, Any]:
    return {
        "nid": event.nid,
        "place": event.place,
        "room": event.room,
        "event_id": event.event_id,
        "type": kind,
        "slot": event.slot,
        "sender": event.sender_nid,
        "sent_at": event.sent_at,
        "depth": event.depth,
        "content": event.content_json,
        "envelope": event.envelope,
        "snapshot": event.snapshot,
        "room_snapshot": event.room_snapshot,
        "replaces": event.replaces,
        "stood": event.stood,
        "redacted_by": None,
        "status": int(event.status),
    }


def _event(row: Row[Any]) -> Event:
    return Event(
        nid=row.nid,
        place=row.place,
        room=row.room,
        room_id=row.room_id,
        version=ROOM_VERSIONS[row.version],
        event_id=row.event_id,
        type=row.type_name,
        state_key=row.state_key,
        slot=row.slot,
        sender=row.user_id,
        sender_nid=row.sender,
        sent_at=row.sent_at,
        depth=row.depth,
        content_json=row.content,
        envelope=row.envelope,
        snapshot=row.snapshot,
        room_snapshot=row.room_snapshot,
        replaces=row.replaces,
        stood=row.stood,
        redacted_by=row.redacted_by,
        status=Status(row.status),
    )


def in_order(found: Mapping[EventNid, Event], nids: Sequence[EventNid]) -> list[Event]:
    """Return the events that were found, in the order of `nids`."""
    return [found[nid] for nid in nids if nid in found]


_SELECT = (
    sa.select(
        *(column for column in events.c if column.name != "type"),
        event_types.c.type.label("type_name"),
        users.c.user_id,
        rooms.c.room_id,
        rooms.c.version,
        state_slots.c.state_key,
    )
    .join(event_types, event_types.c.nid == events.c.type)
    .join(users, users.c.nid == events.c.sender)
    .join(rooms, rooms.c.nid == events.c.room)
    .outerjoin(state_slots, state_slots.c.nid == events.c.slot)
)
_BY_NIDS = _SELECT.where(among(events.c.nid, "wanted"))
_BY_IDS = _SELECT.where(events.c.event_id.in_(sa.bindparam("wanted", expanding=True)))
_IN_ROOM = (
    sa.select(events.c.nid)
    .where(
        events.c.room == sa.bindparam("in_room"),
        events.c.status == int(Status.ACCEPTED),
        events.c.place > sa.bindparam("after"),
        events.c.place <= sa.bindparam("until"),
    )
    .limit(sa.bindparam("most"))
)
_OLDEST_IN_ROOM, _NEWEST_IN_ROOM = _IN_ROOM.order_by(events.c.place), _IN_ROOM.order_by(events.c.place.desc())
_KNOWN_IDS = sa.select(events.c.event_id).where(
    events.c.event_id.in_(sa.bindparam("wanted", expanding=True)), events.c.status != int(Status.UNJUDGED)
)
_INSERT = Hot(events.insert())
