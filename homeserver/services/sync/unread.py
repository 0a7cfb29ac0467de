"""Unread and highlight counts, worked out when someone reads them and not when someone sends.

So a send costs nothing for each member. What was counted stays in memory and grows by the events that came since; a new
receipt, a changed push rule, a redaction or someone else to ignore starts it anew. Source: https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications
and, for threads, https://spec.matrix.org/v1.19/client-server-api/#threaded-read-receipts.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import UserID
from homeserver.model.events import Event, Status
from homeserver.model.nids import EventNid, RoomNid, UserNid
from homeserver.model.receipts import MAIN_THREAD
from homeserver.model.rooms import Room
from homeserver.services.power import may_notify
from homeserver.services.push.facts import EventFacts, ReaderContext
from homeserver.services.push.rules import RuleSet, evaluate
from homeserver.services.threads import Unknown, known_thread_of, threads_of
from homeserver.storage.database import Given, Hot, among, numbers
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.schema.delivery import receipts
from homeserver.storage.schema.rooms import events, memberships
from homeserver.storage.snapshots import Snapshots

MAIN = MAIN_THREAD
REDACTION = "m.room.redaction"
"""What is gone is not to be read any more, so it is not counted."""
MOST_EVENTS_COUNTED = 20_000
"""For all rooms of one answer together, newest first: beyond it the counts say at least so many."""
MESSAGES_READ = ("m.read", "m.read.private")


@dataclass(slots=True)
class Counts:
    """How many events notify, and how many of them highlight."""

    notifications: int = 0
    highlights: int = 0

    def as_json(self) -> bytes:
        """Return the counts as clients get them."""
        return b'{"highlight_count":%d,"notification_count":%d}' % (self.highlights, self.notifications)


@dataclass(slots=True)
class Unread:
    """What is unread in one room for one user: `MAIN` and thread roots to counts."""

    counted_to: int
    read: Mapping[str, int]
    """How far the user has read, by thread; "" for all."""
    rules: RuleSet
    context: ReaderContext
    ignored: Collection[str]
    threads: dict[str, Counts] = field(default_factory=dict)

    def total(self) -> Counts:
        """Return the counts of the whole room."""
        total = Counts()
        for counts in self.threads.values():
            total.notifications += counts.notifications
            total.highlights += counts.highlights
        return total


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose counts are wanted, and what the rules ask about them in each room."""

    user: UserNid
    rules: RuleSet
    user_id: UserID
    names: Mapping[RoomNid, str | None]
    """What they are called in each room."""
    ignored: Collection[str]


class UnreadCounts:
    """Counts, and remembers what was counted."""

    def __init__(self, names: Names, stored: Events, snapshots: Snapshots, most: int = 10_000) -> None:
        """Take what the counted events are read from, and of how many rooms, for all users, counts are remembered."""
        self._most = most
        self._names = names
        self._events = stored
        self._snapshots = snapshots
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[UserNid, RoomNid], Unread] = OrderedDict()

    def remembered(self, user: UserNid, room: RoomNid) -> Unread | None:
        """Return what was counted last, if it is still in memory."""
        return self._known.get((user, room))

    def forget(self, user: UserNid, rooms: Iterable[RoomNid]) -> None:
        """Count these rooms anew next time."""
        for room in rooms:
            self._known.pop((user, room), None)

    def count(
        self, conn: Connection, reader: Reader, rooms: Mapping[RoomNid, Room], until: int
    ) -> dict[RoomNid, Unread]:
        """Return what is unread in each of the rooms, with their heads, at a position.

        The number of queries does not depend on that of the rooms.
        """
        read = _read_up_to(conn, reader.user, rooms)
        found: dict[RoomNid, Unread] = {}
        wanted: dict[RoomNid, int] = {}
        for room, head in rooms.items():
            context = ReaderContext(reader.user_id, reader.names.get(room), head.joined, _ask_database)
            found[room] = self._begin(reader, room, read[room], context, until)
            if head.newest > found[room].counted_to:
                wanted[room] = found[room].counted_to
        new = self._unread_events(conn, wanted, until)
        again = {event.room for event in new if event.type == REDACTION and wanted[event.room] > read[event.room][""]}
        if again:
            anew = {room: read[room][""] for room in again}
            for room, start in anew.items():
                found[room] = Unread(start, read[room], reader.rules, found[room].context, reader.ignored)
            new = [event for event in new if event.room not in anew] + self._unread_events(conn, anew, until)
        power = {room: may_notify(conn, self._names, self._events, self._snapshots, rooms[room]) for room in wanted}
        threads = threads_of(conn, self._events, new)
        for event in new:
            unread = found[event.room]
            context = unread.context._replace(may_notify=power[event.room])
            _add(unread, event, threads[event.nid], reader.user, context)
        for room, unread in found.items():
            unread.counted_to = until
            self.remember(reader.user, room, unread)
        return found

    def _begin(
        self, reader: Reader, room: RoomNid, read: Mapping[str, int], context: ReaderContext, until: int
    ) -> Unread:
        """Return what was counted before if it still holds, to be added to, else nothing."""
        known = self._known.get((reader.user, room))
        if (
            known is None
            or known.read != read
            or known.rules is not reader.rules
            or known.ignored != reader.ignored
            or known.counted_to > until
        ):
            return Unread(read[""], read, reader.rules, context, reader.ignored)
        return Unread(known.counted_to, read, reader.rules, context, reader.ignored, _copied(known.threads))

    def remember(self, user: UserNid, room: RoomNid, unread: Unread) -> None:
        """Keep what was counted, unless someone has counted further meanwhile."""
        with self._lock:
            known = self._known.get((user, room))
            if known is not None and known.counted_to > unread.counted_to:
                return
            self._known[user, room] = unread
            self._known.move_to_end((user, room))
            if len(self._known) > self._most:
                self._known.popitem(last=False)

    def grown(self, user: UserNid, unread: Unread, since: list[Event]) -> Unread | None:
        """Return the counts with the messages that came since, remembered; None if it takes the database to know."""
        threads = _copied(unread.threads)
        grown = Unread(since[-1].at, unread.read, unread.rules, unread.context, unread.ignored, threads)
        try:
            for event in since:
                if event.is_state or event.type == REDACTION:
                    return None
                _add(grown, event, known_thread_of(self._events, event), user, grown.context)
        except (_AskDatabase, Unknown):
            return None
        self.remember(user, since[-1].room, grown)
        return grown

    def _unread_events(self, conn: Connection, wanted: Mapping[RoomNid, int], until: int) -> list[Event]:
        if not wanted:
            return []
        values = _SINCE.values(conn, list(wanted.items()))
        nids = [EventNid(nid) for (nid,) in _NEW.run(conn, {**values, "until": until})]
        loaded = self._events.by_nids(conn, nids)
        return sorted(loaded.values(), key=lambda event: event.at)


def _add(unread: Unread, event: Event, thread: str, user: UserNid, context: ReaderContext) -> None:
    """Count one more event, which came after all that were counted."""
    if event.sender_nid == user:
        # Whoever speaks has read what was said before.
        if not event.is_state:
            unread.threads.pop(thread, None)
        return
    if event.at <= unread.read.get(thread, 0) or event.sender in unread.ignored or event.redacted_by is not None:
        return
    verdict = evaluate(unread.rules, EventFacts.of(event), context)
    if verdict.notify:
        counts = unread.threads.setdefault(thread, Counts())
        counts.notifications += 1
        counts.highlights += verdict.highlight


class _AskDatabase(Exception):
    """A rule asks for power levels."""


def _ask_database(_sender: str, _key: str) -> bool:
    raise _AskDatabase


def _copied(threads: Mapping[str, Counts]) -> dict[str, Counts]:
    return {thread: Counts(counts.notifications, counts.highlights) for thread, counts in threads.items()}


def _read_up_to(conn: Connection, user: UserNid, rooms: Iterable[RoomNid]) -> dict[RoomNid, dict[str, int]]:
    """Return how far a user has read in each room, by thread; a room was read until one came into it."""
    wanted = list(rooms)
    values = {"reader": user, "rooms": numbers(conn, wanted)}
    found = {RoomNid(room): {"": began_at} for room, began_at in _BEGAN.run(conn, values)}
    for room, thread, place in _MARKS.run(conn, values):
        read = found.setdefault(RoomNid(room), {"": 0})
        read[thread] = max(read.get(thread, 0), place)
    for room in wanted:
        found.setdefault(room, {"": 0})
    return found


_BEGAN = Hot(
    sa.select(memberships.c.room, memberships.c.began_at).where(
        memberships.c.user == sa.bindparam("reader"), among(memberships.c.room, "rooms")
    )
)
_MARKS = Hot(
    sa.select(receipts.c.room, receipts.c.thread, receipts.c.place).where(
        receipts.c.user == sa.bindparam("reader"),
        among(receipts.c.room, "rooms"),
        sa.or_(*(receipts.c.kind == kind for kind in MESSAGES_READ)),
    )
)
_SINCE = Given(room=int, after=int)
_NEW = _SINCE.hot(
    lambda since: (
        sa.select(events.c.nid)
        .select_from(since.join(events, (events.c.room == since.c.room) & (events.c.place > since.c.after)))
        .where(events.c.place <= sa.bindparam("until"), events.c.status == int(Status.ACCEPTED))
        .order_by(events.c.place.desc())
        .limit(MOST_EVENTS_COUNTED)
    )
)
